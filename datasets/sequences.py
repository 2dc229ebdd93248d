"""Sequences of unequal length with labels: the .ts text format, and the Japanese vowels in it."""
from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from ..backend.errors import CorruptFileError
from .locate import DataFile, find_all
from .text import load_text

_URL = ("https://raw.githubusercontent.com/sktime/sktime/"
        "7bd7d1620c0656f3210eeb850bb1c0034159ee47/sktime/datasets/data/JapaneseVowels/")
_JAPANESE_VOWELS = [
    DataFile("japanese-vowels/JapaneseVowels_TRAIN.ts", _URL + "JapaneseVowels_TRAIN.ts",
             "sha256:68a430eabd919cc77f40b1f5f3bc0dcafacc1486bca9260785aeb7d262cc78cd"),
    DataFile("japanese-vowels/JapaneseVowels_TEST.ts", _URL + "JapaneseVowels_TEST.ts",
             "sha256:b3d41d6a0ca3bcad3afb9ca7d4365382aa51341e2e58bae2a574babdda5b9462")]


def read_ts(path):
    """Read labelled sequences from a .ts file.

    After a header of ``@key value`` lines and ``@data``, each line is a sequence: channels
    between colons, values over time between commas, and the label last. A ``?`` is a missing
    value and becomes NaN. Time stamps are not supported.

    Parameters
    ----------
    path : path
        The file.

    Returns
    -------
    Bunch
        ``data`` list of float64 arrays (time, channels), ``target`` array of str, or None if
        the file has no labels, and ``target_names`` list of str.

    Raises
    ------
    DataNotFoundError
        If there is no such file.
    CorruptFileError
        If a line does not agree with the header, with the line's number.

    References
    ----------
    The format: Bagnall et al., The UEA multivariate time series classification archive,
    arXiv:1811.00075, 2018.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> from gradatim.datasets import read_ts
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = pathlib.Path(folder, "two.ts")
    ...     _ = path.write_text("@classLabel true up down\\n@data\\n1,2,3:4,5,6:up\\n0,?:1,1:down")
    ...     two = read_ts(path)
    >>> [sequence.shape for sequence in two.data], [str(label) for label in two.target]
    ([(3, 2), (2, 2)], ['up', 'down'])
    """
    from sklearn.utils import Bunch
    lines = load_text(path).split("\n")
    header, start = _header(lines, path)
    labels = header.get("classlabel", "false").split()
    labelled, names = labels[:1] == ["true"], labels[1:]
    data, target = [], []
    for number, line in enumerate(lines[start:], start + 1):
        if not line.strip() or line.startswith("#"):
            continue
        fields = line.strip().split(":")
        if labelled:
            target.append(fields.pop())
            if names and target[-1] not in names:
                raise _corrupt("a label is not among the header's", path, number, target[-1])
        data.append(_sequence(fields, header, path, number))
    if not data:
        raise _corrupt("there are no sequences in the file", path, len(lines), "an empty @data")
    if header.get("equallength") == "true" and len({len(sequence) for sequence in data}) > 1:
        raise _corrupt("the header promises equal lengths", path, start, "several lengths")
    return Bunch(data=data, target=np.array(target) if labelled else None, target_names=names)


def load_japanese_vowels(*, data_home=None, download: bool = False):
    """640 recordings of nine speakers saying two vowels: 12 channels, 7 to 29 steps long.

    Parameters
    ----------
    data_home : path, optional
        The folder to look in first.
    download : bool
        Whether to fetch the files (1.1 MB) if they are not there.

    Returns
    -------
    Bunch
        ``X_train`` list of 270 float64 arrays (time, 12), ``y_train`` array of str (270,),
        ``"1"`` to ``"9"``; ``X_test`` and ``y_test`` with 370 rows; ``target_names``.

    Raises
    ------
    DataNotFoundError
        If the files are not there and not to be fetched.
    CorruptFileError
        If a file is damaged.

    References
    ----------
    Kudo, Toyama and Shimbo, Multidimensional curve classification using passing-through regions,
    Pattern Recognition Letters 20, 1999.

    Examples
    --------
    >>> from gradatim.datasets import load_japanese_vowels
    >>> vowels = load_japanese_vowels()
    >>> len(vowels.X_train), vowels.X_train[0].shape, str(vowels.y_train[0])
    (270, (20, 12), '1')
    """
    from sklearn.utils import Bunch
    paths = find_all("Japanese vowels", _JAPANESE_VOWELS, data_home=data_home, download=download)
    train, test = map(read_ts, paths)
    for part, rows, path in ((train, 270, paths[0]), (test, 370, paths[1])):
        if len(part.data) != rows or {x.shape[1] for x in part.data} != {12}:
            raise CorruptFileError(f"this is not a file of Japanese vowels: {path.name}",
                                   got=f"{len(part.data)} sequences, not {rows}", at=path,
                                   fix="get the file again")
    return Bunch(X_train=train.data, y_train=train.target, X_test=test.data, y_test=test.target,
                 target_names=train.target_names)


def _header(lines: list[str], path) -> tuple[dict[str, str], int]:
    """The header's values by key in lower case, and how many lines it takes."""
    header: dict[str, str] = {}
    for number, line in enumerate(lines, 1):
        match = re.fullmatch(r"@(\w+)\s*(.*)", line.strip())
        if match and match[1].lower() == "data":
            break
        if match:
            header[match[1].lower()] = match[2]
        elif line.strip() and not line.startswith("#"):
            raise _corrupt("this is not a line of a .ts header", path, number, f"{line[:40]!r}")
    else:
        raise _corrupt("this is not a .ts file: it has no @data", path, len(lines), "the end")
    for key in ("timestamps", "targetlabel"):
        if header.get(key, "false").lower() != "false":
            raise _corrupt(f"a .ts file with @{key} is not supported", path, number, header[key])
    return header, number


def _sequence(fields: list[str], header: dict[str, str], path, number: int) -> np.ndarray:
    """One sequence, (time, channels)."""
    try:
        channels = [np.array(field.replace("?", "nan").split(","), np.float64) for field in fields]
    except ValueError as error:
        raise _corrupt("a value is not a number", path, number, str(error)) from None
    expected = "1" if header.get("univariate") == "true" else header.get("dimensions")
    if expected is not None and expected != str(len(channels)):
        raise _corrupt(f"the header promises {expected} channels", path, number,
                       f"{len(channels)} channels")
    if len({len(channel) for channel in channels}) != 1:
        raise _corrupt("the channels of a sequence differ in length", path, number,
                       "lengths " + ", ".join(str(len(channel)) for channel in channels))
    return np.stack(channels, axis=1)


def _corrupt(what: str, path, number: int, got: str) -> CorruptFileError:
    """The error for a line that is not what it should be."""
    return CorruptFileError(what, got=got, at=f"{Path(path)}:{number}",
                            fix="get the file again, or mend the line")
