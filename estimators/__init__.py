"""Estimators: what users call. scikit-learn's contract lives here and nowhere else."""
from .cnn import CNNClassifier, CNNRegressor
from .dnn import DNNClassifier, DNNRegressor
from .linear_classifier import LinearClassifier
from .linear_regressor import LinearRegressor
from .rnn import RNNClassifier, RNNRegressor
from .saving import load
from .text import TextGenerator

__all__ = ["CNNClassifier", "CNNRegressor", "DNNClassifier", "DNNRegressor", "LinearClassifier",
           "LinearRegressor", "RNNClassifier", "RNNRegressor", "TextGenerator", "load"]
