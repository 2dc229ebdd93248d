"""Layers, the networks made of them, their initializers and regularizers, and their files."""
from .activation import ELU, Activation, LeakyReLU, PReLU, ReLU, Softmax
from .attention import Attention, MultiHeadAttention
from .augmentation import (
    RandomCrop, RandomErasing, RandomFlip, RandomRotation, RandomTranslation)
from .base import Flow, Layer
from .batch_normalization import BatchNormalization
from .bidirectional import Bidirectional
from .constraints import Constraint, MaxNorm, MinMaxNorm, NonNeg, UnitNorm, constraint
from .convolution import Conv1D, Conv2D, DepthwiseConv1D, DepthwiseConv2D
from .dense import Dense
from .distribution_losses import GaussianLikelihood, Poisson, Quantile, Tweedie
from .dropout import (
    Dropout, GaussianDropout, GaussianNoise, SpatialDropout1D, SpatialDropout2D)
from .embed_columns import EmbedColumns
from .embedding import Embedding
from .further_losses import (
    BinaryFocalCrossentropy, CategoricalFocalCrossentropy, CategoricalHinge, CosineSimilarity, Dice,
    Hinge, KLDivergence, MeanAbsolutePercentageError, MeanSquaredLogarithmicError, SquaredHinge,
    Tversky)
from .initializers import (
    Constant, GlorotNormal, GlorotUniform, HeNormal, HeUniform, Identity, Initializer, LecunNormal,
    LecunUniform, Ones, Orthogonal, RandomNormal, RandomUniform, TruncatedNormal, VarianceScaling,
    Zeros, initializer)
from .losses import (
    BinaryCrossentropy, CategoricalCrossentropy, Huber, LogCosh, Loss, MeanAbsoluteError,
    MeanSquaredError, SparseCategoricalCrossentropy)
from .merging import Add, Average, Concatenate, Dot, Maximum, Minimum, Multiply, Subtract
from .mixing import CutMix, MixUp
from .model import Input, Model, Sequential
from .normalization import (
    GroupNormalization, LayerNormalization, Normalization, RMSNormalization, UnitNormalization)
from .pooling import (
    AveragePooling1D, AveragePooling2D, GlobalAveragePooling1D, GlobalAveragePooling2D,
    GlobalMaxPooling1D, GlobalMaxPooling2D, MaxPooling1D, MaxPooling2D)
from .preprocessing import CategoryEncoding, Discretization, Masking, Rescaling
from .recurrent import GRU, LSTM, SimpleRNN
from .registry import from_config, to_config
from .regularizers import L1, L1L2, L2, Regularizer, regularizer
from .saving import load_network, network_from_manifest, network_to_manifest, save_network
from .separable import SeparableConv1D, SeparableConv2D
from .shaping import (
    Cropping1D, Cropping2D, Flatten, Permute, RepeatVector, Reshape, UpSampling1D, UpSampling2D,
    ZeroPadding1D, ZeroPadding2D)
from .time_distributed import TimeDistributed
from .transposed import Conv1DTranspose, Conv2DTranspose, Conv3DTranspose
from .volumes import (
    AveragePooling3D, Conv3D, Cropping3D, GlobalAveragePooling3D, GlobalMaxPooling3D, MaxPooling3D,
    SpatialDropout3D, UpSampling3D, ZeroPadding3D)
