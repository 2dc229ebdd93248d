"""Atomic writing: whatever goes wrong, the old file is there or the whole new one, never a part."""
from __future__ import annotations

import contextlib
import errno
import os
import secrets

from .errors import FileAccessError

_CURES = {
    errno.ENOSPC: "free some space on the disk, or save elsewhere; an older file is as it was",
    errno.EDQUOT: "free some of your quota, or save elsewhere; an older file is as it was",
    errno.EFBIG: "raise the limit on file sizes (ulimit -f), or save elsewhere",
    errno.EACCES: "save to a folder you may write to",
    errno.EPERM: "save to a folder you may write to",
    errno.EROFS: "save to a folder that is not read-only",
    errno.ENOENT: "make the folder first, or save elsewhere",
    errno.ENOTDIR: "a part of the path is a file; save to a folder",
    errno.EISDIR: "give the name of a file; this is a folder",
    errno.EEXIST: "choose a name that is not taken",
    errno.ENAMETOOLONG: "choose a shorter name",
}


def atomic_write(path, writer, verify=None) -> None:
    """Replace a file by a new one, wholly or not at all.

    The bytes go to a temporary file in the same folder, are forced to the disk, checked, and only
    then renamed over `path`; the folder is forced to the disk last. The temporary file is
    removed after any exception, `KeyboardInterrupt` included; only a killed process leaves one
    behind (its name begins with a dot and ends with ``.tmp``).

    Parameters
    ----------
    path : str or os.PathLike
        The file to make or replace. A symbolic link stays one: the file it points at is replaced.
    writer : callable
        ``writer(stream)`` writes all bytes to a binary stream.
    verify : callable, optional
        ``verify(temporary_path)`` reads the new file back and raises if it is not good.

    Raises
    ------
    FileAccessError
        If the operating system refuses: no space, no permission, no such folder.

    Notes
    -----
    The new file has the permissions of the file it replaces, and otherwise those every new file
    gets, both narrowed by the umask.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = pathlib.Path(folder) / "note.txt"
    ...     atomic_write(path, lambda stream: stream.write(b"step by step"))
    ...     path.read_bytes()
    b'step by step'
    """
    path = os.fsdecode(path)
    try:
        _replace(os.path.realpath(path), writer, verify)
    except FileAccessError:
        raise
    except OSError as cause:
        raise refusal(path, cause) from cause


def refusal(path, cause: OSError) -> FileAccessError:
    """What to tell a user whom the operating system does not let write a file."""
    path = os.fsdecode(path)
    error = FileAccessError(f'cannot write "{os.path.basename(path)}": {cause.strerror or cause}',
                            at=path, fix=_CURES.get(cause.errno))
    error.errno = cause.errno
    return error


def _replace(path: str, writer, verify) -> None:
    """Write beside `path`, check, rename."""
    if os.path.isdir(path):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    if os.path.exists(path) and not os.path.isfile(path):
        # Renaming would put a file where a device such as /dev/null was.
        raise FileExistsError(errno.EEXIST, "it is a device or a pipe")
    folder, name = os.path.split(path)
    part = os.path.join(folder, f".{name[:40]}.{secrets.token_hex(8)}.tmp")
    # os.open applies the umask itself; reading the umask to chmod later would have to set it,
    # which another thread could see.
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
    descriptor = os.open(part, flags, _mode(path))
    try:
        with os.fdopen(descriptor, "wb") as stream:
            writer(stream)
            stream.flush()
            os.fsync(stream.fileno())
        if verify is not None:
            verify(part)
        os.replace(part, path)
        _sync_folder(folder)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(part)
        raise


def _mode(path: str) -> int:
    """The permissions for the new file: a private model stays private when it is saved again."""
    try:
        return os.stat(path).st_mode & 0o777
    except FileNotFoundError:
        return 0o666


def _sync_folder(folder: str) -> None:
    """Force the rename itself to the disk, where folders can be synced at all."""
    if not hasattr(os, "O_DIRECTORY"):
        return
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    except OSError as cause:
        if cause.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(descriptor)
