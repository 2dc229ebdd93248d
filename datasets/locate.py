"""Where data files are: the folders searched, the download, and the error when both fail."""
from __future__ import annotations

import os
from pathlib import Path, PurePosixPath
from typing import NamedTuple, Sequence

from ..backend.errors import CorruptFileError, DataNotFoundError, ParameterError


class DataFile(NamedTuple):
    """A published file: its place below a data folder, its URL, and the checksum of a download."""
    path: str
    url: str | None = None
    checksum: str | None = None


def find(relative_path: str, *, url: str | None = None, checksum: str | None = None,
         data_home=None, download: bool = False, name: str | None = None) -> Path:
    """The path of a data file on this machine.

    The folders searched are `data_home`, the environment variable ``GRADATIM_DATA``, and the
    cache folder (``~/.cache/gradatim``, or the environment variable ``GRADATIM_HOME``), in this
    order. A download goes to `data_home`, or else to the cache folder.

    Parameters
    ----------
    relative_path : str
        The file below a data folder, with forward slashes.
    url : str, optional
        Where the file is published.
    checksum : str, optional
        ``"sha256:..."`` or ``"md5:..."`` of the published file; checked after a download.
    data_home : path, optional
        The folder to look in first.
    download : bool
        Whether to fetch a file that is in none of the folders; needs the package pooch.
    name : str, optional
        What an error calls the data set.

    Returns
    -------
    pathlib.Path
        A file that exists.

    Raises
    ------
    DataNotFoundError
        If the file is in none of the folders and cannot be fetched.
    CorruptFileError
        If a downloaded file has another checksum.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> from gradatim.datasets import find
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = pathlib.Path(folder, "notes.txt").write_text("one")
    ...     find("notes.txt", data_home=folder).name
    'notes.txt'
    """
    files = [DataFile(relative_path, url, checksum)]
    return find_all(name or relative_path, files, data_home=data_home, download=download)[0]


def find_all(name: str, files: Sequence[DataFile], *, data_home=None, download: bool = False,
             page: str | None = None) -> list[Path]:
    """The paths of all files of a data set; one error names everything that is missing."""
    paths = [locate(file.path, data_home) for file in files]
    missing = [file for file, path in zip(files, paths) if path is None]
    if not missing:
        return paths
    if not (download and all(file.url for file in missing)):
        raise _not_found(name, missing, data_home, page)
    return [path or _fetch(name, file, data_home) for file, path in zip(files, paths)]


def locate(relative_path: str, data_home=None) -> Path | None:
    """The first file or folder of this name in the data folders, or None."""
    parts = PurePosixPath(relative_path)
    if parts.is_absolute() or ".." in parts.parts:
        raise ParameterError("a data file is named by its place below a data folder",
                             got=f'"{relative_path}"', fix="leave out .. and a leading slash")
    found = (place / parts for place in places(data_home))
    return next((path for path in found if path.exists()), None)


def places(data_home=None) -> list[Path]:
    """The data folders in the order they are searched."""
    named = [data_home, os.environ.get("GRADATIM_DATA")]
    return [*(Path(place).expanduser() for place in named if place), _cache()]


def _cache() -> Path:
    """The folder that downloads go to."""
    return Path(os.environ.get("GRADATIM_HOME") or "~/.cache/gradatim").expanduser()


def _fetch(name: str, file: DataFile, data_home) -> Path:
    """Download one file; it appears under its name only when complete and with its checksum."""
    try:
        import pooch
    except ImportError:
        raise DataNotFoundError(f"downloading {name} needs the package pooch",
                                missing=file.path, fix="pip install pooch") from None
    target = (Path(data_home).expanduser() if data_home else _cache()) / file.path
    try:
        return Path(pooch.retrieve(file.url, known_hash=file.checksum, fname=target.name,
                                   path=target.parent))
    except OSError as error:
        raise DataNotFoundError(f"downloading {name} failed",
                                got=f"{type(error).__name__}: {error}", at=file.url,
                                fix=f"try again, or save the file as {target}") from error
    except ValueError as error:  # what pooch raises for another checksum
        raise CorruptFileError(f"the downloaded file of {name} is not the published one",
                               got=str(error).splitlines()[0], at=file.url,
                               fix="try again; something between here and there changes it"
                               ) from error


def _not_found(name: str, missing: Sequence[DataFile], data_home, page) -> DataNotFoundError:
    """The error that says what is missing, where it was looked for, and how to get it."""
    urls = [file.url for file in missing if file.url]
    source = urls[0] if len(urls) == 1 else os.path.commonprefix(urls).rpartition("/")[0]
    source = page or (source + "/" if len(urls) > 1 else source)
    ways = [*(["pass download=True"] if len(urls) == len(missing) else []),
            *([f"get it from {source}"] if source else []),
            "name the folder that has it by data_home= or the environment variable GRADATIM_DATA"]
    return DataNotFoundError(
        f"the data set {name} is not on this machine",
        missing=", ".join(file.path for file in missing),
        **{"looked in": ", ".join(map(str, places(data_home)))},
        fix="; or ".join(ways))
