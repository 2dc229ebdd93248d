"""Estimators: what users call. scikit-learn's contract lives here and nowhere else."""
from .autoencoder import Autoencoder
from .baselines import BaselineClassifier, BaselineForecaster, BaselineRegressor
from .cnn import CNNClassifier, CNNRegressor
from .dnn import DNNClassifier, DNNRegressor
from .feature_encoder import FeatureEncoder
from .forecaster import RNNForecaster
from .image_reader import ImageReader
from .linear_classifier import LinearClassifier
from .linear_regressor import LinearRegressor
from .network import NetworkClassifier, NetworkRegressor
from .report import Report
from .rnn import RNNClassifier, RNNRegressor
from .saving import load
from .tagger import RNNTagger
from .text import TextGenerator
from .text_vectorizer import TextVectorizer
from .wide_and_deep import WideAndDeepClassifier, WideAndDeepRegressor

__all__ = ["Autoencoder", "BaselineClassifier", "BaselineForecaster", "BaselineRegressor",
           "CNNClassifier", "CNNRegressor", "DNNClassifier", "DNNRegressor", "FeatureEncoder",
           "ImageReader", "LinearClassifier", "LinearRegressor", "NetworkClassifier",
           "NetworkRegressor", "RNNClassifier", "RNNForecaster", "RNNRegressor", "RNNTagger",
           "Report", "TextGenerator", "TextVectorizer", "WideAndDeepClassifier",
           "WideAndDeepRegressor", "load"]
