"""Data sets and how they become batches: readers, downloads, generators, batching."""
from .arff import read_arff
from .batching import Batches, epoch_order, pad_sequences
from .buckets import bucket_sizes, length_buckets
from .bundled import load_breast_cancer, load_diabetes, load_digits, load_iris, load_wine
from .cifar import read_cifar10
from .generated import (
    make_adding_problem, make_line, make_parity, make_seasonal, make_shapes, make_spirals)
from .idx import read_idx
from .image_files import find_images, read_image
from .images import load_cifar10, load_fashion_mnist, load_mnist
from .locate import find
from .on_disk import OnDisk, in_memory, is_on_disk
from .prefetch import prefetched
from .sequences import load_japanese_vowels, read_ts
from .sparse_rows import SparseRows
from .tables import load_auto_mpg, load_etth1, load_wine_quality
from .text import (
    load_names, load_python_docs_text, load_sentence_polarity, load_text, load_tiny_shakespeare)

__all__ = [
    "Batches", "OnDisk", "SparseRows", "bucket_sizes", "epoch_order", "find", "find_images",
    "in_memory", "is_on_disk",
    "length_buckets", "load_auto_mpg", "load_breast_cancer", "load_cifar10", "load_diabetes",
    "load_digits", "load_etth1", "load_fashion_mnist", "load_iris", "load_japanese_vowels",
    "load_mnist", "load_names", "load_python_docs_text", "load_sentence_polarity", "load_text",
    "load_tiny_shakespeare", "load_wine", "load_wine_quality", "make_adding_problem",
    "make_line", "make_parity", "make_seasonal", "make_shapes", "make_spirals", "pad_sequences",
    "prefetched", "read_arff", "read_cifar10", "read_idx", "read_image", "read_ts"
]
