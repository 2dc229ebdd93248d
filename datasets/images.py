"""Image sets to learn classification with: MNIST, Fashion-MNIST and CIFAR-10."""
from __future__ import annotations

import numpy as np

from ..backend.errors import CorruptFileError
from .cifar import ARCHIVE, FOLDER, read_cifar10
from .idx import read_idx
from .locate import DataFile, find_all, locate

_IDX_FILES = ("train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz",
              "t10k-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz")
_ROWS = {"train": 60_000, "test": 10_000}


def _idx_set(folder: str, url: str, *checksums: str) -> list[DataFile]:
    """The four files of a set in MNIST's form."""
    return [DataFile(f"{folder}/{name}", url + name, checksum)
            for name, checksum in zip(_IDX_FILES, checksums, strict=True)]


_FASHION_MNIST = _idx_set(
    "fashion-mnist",
    "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/"
    "b2617bb6d3ffa2e429640350f613e3291e10b141/data/fashion/",
    "sha256:3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
    "sha256:a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
    "sha256:346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
    "sha256:67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5")
_MNIST = _idx_set(
    "mnist", "https://ossci-datasets.s3.amazonaws.com/mnist/",
    "md5:f68b3c2dcbeaaa9fbdd348bbdeb94873", "md5:d53e105ee54ea40749a09fcbcd1e9432",
    "md5:9fb629c4189551a2d022fa330f9573f3", "md5:ec29112dd5afa0611ce80d1b7f02629c")
_CIFAR10 = DataFile(f"cifar-10/{ARCHIVE}", f"https://www.cs.toronto.edu/~kriz/{ARCHIVE}",
                    "md5:c32a1d4ab5d03f1284b67883e8d87530")


def load_fashion_mnist(*, data_home=None, download: bool = False):
    """Fashion-MNIST: 70,000 grey images of clothing, ten classes.

    Parameters
    ----------
    data_home : path, optional
        The folder to look in first.
    download : bool
        Whether to fetch the files (30 MB) if they are not there.

    Returns
    -------
    Bunch
        ``X_train`` uint8 (60000, 28, 28) from 0 to 255, ``y_train`` int64 (60000,) from 0 to 9,
        ``X_test`` and ``y_test`` with 10,000 rows, and ``target_names``.

    Raises
    ------
    DataNotFoundError
        If the files are not there and not to be fetched.
    CorruptFileError
        If a file is damaged or another set's.

    References
    ----------
    Xiao, Rasul and Vollgraf, Fashion-MNIST, arXiv:1708.07747, 2017. MIT licence.

    Examples
    --------
    >>> from gradatim.datasets import load_fashion_mnist
    >>> fashion = load_fashion_mnist()
    >>> fashion.X_train.shape, fashion.target_names[fashion.y_train[0]]
    ((60000, 28, 28), 'ankle boot')
    """
    names = ["t-shirt", "trouser", "pullover", "dress", "coat",
             "sandal", "shirt", "sneaker", "bag", "ankle boot"]
    return _load_idx_set("Fashion-MNIST", _FASHION_MNIST, names, data_home, download)


def load_mnist(*, data_home=None, download: bool = False):
    """MNIST: 70,000 grey images of handwritten digits.

    Parameters
    ----------
    data_home : path, optional
        The folder to look in first.
    download : bool
        Whether to fetch the files (11 MB) if they are not there.

    Returns
    -------
    Bunch
        ``X_train`` uint8 (60000, 28, 28) from 0 to 255, ``y_train`` int64 (60000,) from 0 to 9,
        ``X_test`` and ``y_test`` with 10,000 rows, and ``target_names``.

    Raises
    ------
    DataNotFoundError
        If the files are not there and not to be fetched.
    CorruptFileError
        If a file is damaged or another set's.

    References
    ----------
    LeCun, Bottou, Bengio and Haffner, Gradient-based learning applied to document recognition,
    Proceedings of the IEEE 86(11), 1998. CC BY-SA 3.0.

    Examples
    --------
    >>> from gradatim.datasets import load_mnist
    >>> load_mnist(download=True).X_test.shape  # doctest: +SKIP
    (10000, 28, 28)
    """
    return _load_idx_set("MNIST", _MNIST, [str(d) for d in range(10)], data_home, download)


def load_cifar10(*, data_home=None, download: bool = False):
    """CIFAR-10: 60,000 colour images of animals and vehicles, ten classes.

    The binary version, either the archive ``cifar-10/cifar-10-binary.tar.gz``, which is read
    without unpacking it, or its unpacked folder ``cifar-10/cifar-10-batches-bin``.

    Parameters
    ----------
    data_home : path, optional
        The folder to look in first.
    download : bool
        Whether to fetch the archive (170 MB) if neither is there.

    Returns
    -------
    Bunch
        ``X_train`` uint8 (50000, 32, 32, 3) from 0 to 255, ``y_train`` int64 (50000,) from 0 to
        9, ``X_test`` and ``y_test`` with 10,000 rows, and ``target_names``.

    Raises
    ------
    DataNotFoundError
        If the files are not there and not to be fetched.
    CorruptFileError
        If a file is damaged or another set's.

    References
    ----------
    Krizhevsky, Learning multiple layers of features from tiny images, 2009.

    Examples
    --------
    >>> from gradatim.datasets import load_cifar10
    >>> load_cifar10(download=True).X_test.shape  # doctest: +SKIP
    (10000, 32, 32, 3)
    """
    path = locate(f"cifar-10/{FOLDER}", data_home) or find_all(
        "CIFAR-10", [_CIFAR10], data_home=data_home, download=download)[0]
    names = ["airplane", "automobile", "bird", "cat", "deer",
             "dog", "frog", "horse", "ship", "truck"]
    return _bunch(*read_cifar10(path), names)


def _load_idx_set(name: str, files, target_names, data_home, download: bool):
    """Read and check the four files of a set in MNIST's form."""
    paths = find_all(name, files, data_home=data_home, download=download)
    arrays = [read_idx(path) for path in paths]
    wanted = [shape for rows in _ROWS.values() for shape in ((rows, 28, 28), (rows,))]
    for path, array, shape in zip(paths, arrays, wanted):
        if array.dtype != np.uint8 or array.shape != shape or (array.ndim == 1 and array.max() > 9):
            raise CorruptFileError(f"this is not a file of {name}: {path.name}",
                                   got=f"{array.dtype}{list(array.shape)}", at=path,
                                   fix="delete the file and get it again")
    return _bunch(*arrays, target_names)


def _bunch(X_train, y_train, X_test, y_test, target_names):
    """A train and a test part; labels as int64, because uint8 arithmetic wraps around."""
    from sklearn.utils import Bunch
    return Bunch(X_train=X_train, y_train=y_train.astype(np.int64), X_test=X_test,
                 y_test=y_test.astype(np.int64), target_names=target_names)
