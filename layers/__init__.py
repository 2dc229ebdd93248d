"""Layers, the networks made of them, their initializers and regularizers, and their files."""
from .activation import ELU, Activation, LeakyReLU, PReLU, ReLU, Softmax
from .attention import Attention, MultiHeadAttention
from .augmentation import RandomCrop, RandomFlip, RandomRotation, RandomTranslation, RandomZoom
from .base import Layer
from .batch_normalization import BatchNormalization
from .bidirectional import Bidirectional
from .classification_losses import (
    BinaryCrossentropy, BinaryFocalCrossentropy, CategoricalCrossentropy,
    CategoricalFocalCrossentropy, CategoricalHinge, Dice, Hinge, KLDivergence,
    SparseCategoricalCrossentropy, SquaredHinge, Tversky)
from .constraints import Constraint, MaxNorm, MinMaxNorm, NonNeg, UnitNorm, constraint
from .convolution import Conv1D, Conv2D, Conv3D
from .ctc import CTC
from .dense import Dense
from .distribution_losses import GaussianLikelihood, Poisson, Quantile, Tweedie
from .dropout import (
    Dropout, GaussianDropout, GaussianNoise, SpatialDropout1D, SpatialDropout2D, SpatialDropout3D)
from .embed_columns import EmbedColumns
from .embedding import Embedding
from .flow import Flow
from .initializers import (
    Constant, GlorotNormal, GlorotUniform, HeNormal, HeUniform, Identity, Initializer, LecunNormal,
    LecunUniform, Ones, Orthogonal, RandomNormal, RandomUniform, TruncatedNormal, VarianceScaling,
    Zeros, initializer)
from .losses import Loss
from .merging import Add, Average, Concatenate, Dot, Maximum, Minimum, Multiply, Subtract
from .mixing import CutMix, MixUp
from .model import Input, Model, Sequential
from .normalization import (
    GroupNormalization, LayerNormalization, Normalization, RMSNormalization, UnitNormalization)
from .photometric import RandomBrightness, RandomContrast, RandomErasing
from .pooling import (
    AveragePooling1D, AveragePooling2D, AveragePooling3D, GlobalAveragePooling1D,
    GlobalAveragePooling2D, GlobalAveragePooling3D, GlobalMaxPooling1D, GlobalMaxPooling2D,
    GlobalMaxPooling3D, MaxPooling1D, MaxPooling2D, MaxPooling3D)
from .preprocessing import CategoryEncoding, Discretization, IntegerLookup, Masking, Rescaling
from .recurrent import GRU, LSTM, SimpleRNN
from .registry import from_config, to_config
from .regression_losses import (
    CosineSimilarity, Huber, LogCosh, MeanAbsoluteError, MeanAbsolutePercentageError,
    MeanSquaredError, MeanSquaredLogarithmicError)
from .regularizers import L1, L1L2, L2, Regularizer, regularizer
from .saving import load_network, network_from_manifest, network_to_manifest, save_network
from .separable import DepthwiseConv1D, DepthwiseConv2D, SeparableConv1D, SeparableConv2D
from .shaping import (
    Cropping1D, Cropping2D, Cropping3D, Flatten, Permute, RepeatVector, Reshape, UpSampling1D,
    UpSampling2D, UpSampling3D, ZeroPadding1D, ZeroPadding2D, ZeroPadding3D)
from .time_distributed import TimeDistributed
from .transposed import Conv1DTranspose, Conv2DTranspose, Conv3DTranspose

# What `help` lists and `import *` takes: what is defined here, not the files it is defined in.
__all__ = [name for name, thing in vars().items()
           if getattr(thing, "__module__", "").startswith(f"{__name__}.")]
