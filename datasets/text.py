"""Texts to learn language from: any file, Shakespeare, Python's manual, names, film reviews."""
from __future__ import annotations

from pathlib import Path

import numpy as np

from ..backend.errors import CorruptFileError, DataError, DataNotFoundError, ParameterError
from .locate import DataFile, find_all

_RAW = "https://raw.githubusercontent.com/"
_SHAKESPEARE = DataFile(
    "tinyshakespeare/input.txt",
    _RAW + "karpathy/char-rnn/6f9487a6fe5b420b7ca9afb0d7c078e37c1d1b4e/data/tinyshakespeare/"
    "input.txt",
    "sha256:86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed")
_NAMES = DataFile(
    "names/names.txt",
    _RAW + "karpathy/makemore/988aa59e4d8fefa526d06f3b453ad116258398d4/names.txt",
    "sha256:0a30b5557f192f32ab962680889aac5f6fda0f4cecf40a6d0b5694f58ea8cc4d")
_POLARITY_URL = _RAW + "yoonkim/CNN_sentence/23e0e1f7355705bb083043fda05c031b15acb38c/"
_POLARITY = [
    DataFile("rt-polarity/rt-polarity.neg", _POLARITY_URL + "rt-polarity.neg",
             "sha256:4ace77d558c3714723843f1d65b60c01e3417b208180f0728808d76ad0eeeaca"),
    DataFile("rt-polarity/rt-polarity.pos", _POLARITY_URL + "rt-polarity.pos",
             "sha256:2da124ec187a9d5a29c9f04e91c540e02baed5af8868f550a26bd6fd4dbf8bf0")]


def load_text(path, encoding: str = "utf-8") -> str:
    """The text of a file, exactly as it stands there: line ends are not translated.

    Parameters
    ----------
    path : path
        The file.
    encoding : str
        How its bytes mean characters.

    Returns
    -------
    str
        The text.

    Raises
    ------
    DataNotFoundError
        If there is no such file.
    DataError
        If it is a folder or its bytes are not text in this encoding.
    ParameterError
        If Python knows no such encoding.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> from gradatim.datasets import load_text
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = pathlib.Path(folder, "line.txt")
    ...     _ = path.write_bytes(b"to be")
    ...     load_text(path)
    'to be'
    """
    try:
        return Path(path).read_bytes().decode(encoding)
    except FileNotFoundError:
        raise DataNotFoundError("there is no such text file", at=path) from None
    except IsADirectoryError:
        raise DataError("this is a folder, not a text file", at=path,
                        fix="name a file in it") from None
    except UnicodeDecodeError as error:
        raise DataError(f"this file is not {encoding} text: {Path(path).name}",
                        got=f"byte 0x{error.object[error.start]:02x} at position {error.start}",
                        at=path, fix='pass the file\'s own encoding, e.g. encoding="latin-1"'
                        ) from None
    except LookupError:
        raise ParameterError(f'there is no encoding "{encoding}"', fix='use "utf-8" or "latin-1"'
                             ) from None


def load_tiny_shakespeare(*, data_home=None, download: bool = False) -> str:
    """A million characters of Shakespeare's plays, 65 of them distinct.

    Parameters
    ----------
    data_home : path, optional
        The folder to look in first.
    download : bool
        Whether to fetch the file (1.1 MB) if it is not there.

    Returns
    -------
    str
        1,115,394 characters.

    Raises
    ------
    DataNotFoundError
        If the file is not there and not to be fetched.

    References
    ----------
    Karpathy, char-rnn, 2015. The plays are in the public domain.

    Examples
    --------
    >>> from gradatim.datasets import load_tiny_shakespeare
    >>> load_tiny_shakespeare()[:14]
    'First Citizen:'
    """
    path, = find_all("tiny Shakespeare", [_SHAKESPEARE], data_home=data_home, download=download)
    return load_text(path, "ascii")


def load_python_docs_text() -> str:
    """Python's language manual, from the standard library: half a million characters, no download.

    Every topic of ``pydoc_data.topics`` in the alphabetical order of their names, with an empty
    line between them. The text differs from one version of Python to the next.

    Returns
    -------
    str
        The text.

    Examples
    --------
    >>> from gradatim.datasets import load_python_docs_text
    >>> "lambda" in load_python_docs_text()
    True
    """
    from pydoc_data.topics import topics
    return "\n\n".join(topics[name] for name in sorted(topics))


def load_names(*, data_home=None, download: bool = False) -> list[str]:
    """First names in lower case, in the order of the file: most frequent first, some twice.

    Parameters
    ----------
    data_home : path, optional
        The folder to look in first.
    download : bool
        Whether to fetch the file (228 KB) if it is not there.

    Returns
    -------
    list of str
        32,033 names of the letters a to z.

    Raises
    ------
    DataNotFoundError
        If the file is not there and not to be fetched.
    CorruptFileError
        If a line of it is not a name.

    References
    ----------
    Karpathy, makemore, 2022 (MIT licence), from the names of the US Social Security
    Administration.

    Examples
    --------
    >>> from gradatim.datasets import load_names
    >>> load_names()[:3]
    ['emma', 'olivia', 'ava']
    """
    path, = find_all("names", [_NAMES], data_home=data_home, download=download)
    names = load_text(path).removesuffix("\n").split("\n")
    for number, name in enumerate(names, 1):
        if not (name.isascii() and name.isalpha() and name.islower()):
            raise CorruptFileError("a line is not a name in lower case", got=f"{name[:40]!r}",
                                   at=f"{path}:{number}", fix="get the file again")
    return names


def load_sentence_polarity(*, data_home=None, download: bool = False):
    """Sentences of film reviews, half of them negative and half positive.

    Parameters
    ----------
    data_home : path, optional
        The folder to look in first.
    download : bool
        Whether to fetch the files (1.2 MB) if they are not there.

    Returns
    -------
    Bunch
        ``data`` list of 10,662 str, in lower case, with a space around every word and mark;
        ``target`` int64 (10662,), 0 or 1, in this order; ``target_names``.

    Raises
    ------
    DataNotFoundError
        If the files are not there and not to be fetched.

    References
    ----------
    Pang and Lee, Seeing stars, ACL 2005: sentence polarity dataset v1.0.

    Examples
    --------
    >>> from gradatim.datasets import load_sentence_polarity
    >>> reviews = load_sentence_polarity()
    >>> reviews.data[0], reviews.target_names[reviews.target[0]]
    ('simplistic , silly and tedious .', 'negative')
    """
    from sklearn.utils import Bunch
    paths = find_all("sentence polarity", _POLARITY, data_home=data_home, download=download)
    # Split at line feeds alone: splitlines() would also cut at the byte 0x85 inside sentences.
    parts = [[line.strip(" ") for line in load_text(path, "latin-1").removesuffix("\n").split("\n")]
             for path in paths]
    return Bunch(data=parts[0] + parts[1], target=np.repeat([0, 1], list(map(len, parts))),
                 target_names=["negative", "positive"])
