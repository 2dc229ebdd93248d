"""The op table, one file per family; importing this package fills it."""
from . import elementwise, activations, reductions
from . import affine, collective, gram, halves, indexing, losses, matmul, random, shape
from . import convolution, normalization, pooling
from . import recurrent_gru, recurrent_lstm, recurrent_simple
