"""Images in files: what one file holds, and the files of a folder with a subfolder per class."""
from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np

from ..backend.errors import CorruptFileError, DataError, DataNotFoundError

SUFFIXES = (".png", ".npy", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".ppm",
            ".pgm")
PNG = b"\x89PNG\r\n\x1a\n"
COLOUR_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}     # PNG's colour types; 3 is a palette
LARGEST = 2 ** 28                                    # bytes of one image


def read_image(path) -> np.ndarray:
    """Read one image.

    PNG files of 8 bits per channel and ``.npy`` arrays need no other package; all other kinds are
    read by Pillow, where it is installed.

    Parameters
    ----------
    path : path
        The file.

    Returns
    -------
    ndarray
        uint8 (height, width, channels) with 1 (grey), 2 (grey, alpha), 3 (colour) or 4 channels;
        a ``.npy`` keeps its element type.

    Raises
    ------
    DataNotFoundError
        If there is no such file.
    CorruptFileError
        If it is damaged, or no image.
    DataError
        If it takes Pillow, and that is not installed.

    References
    ----------
    Portable Network Graphics (PNG) Specification, second edition, W3C, 2003.

    Examples
    --------
    >>> import os, tempfile
    >>> import numpy as np
    >>> from gradatim.datasets import read_image
    >>> path = os.path.join(tempfile.mkdtemp(), "grey.npy")
    >>> np.save(path, np.zeros((4, 5), "uint8"))
    >>> read_image(path).shape
    (4, 5, 1)
    """
    try:
        data = Path(path).read_bytes()
    except (FileNotFoundError, IsADirectoryError):
        raise DataNotFoundError(f"there is no image {Path(path).name}", at=str(path),
                                fix="check the path") from None
    if Path(path).suffix == ".npy":
        image = read_array(path)
    elif data.startswith(PNG) and (known := png_header(data, path)) is not None:
        image = read_png(data, *known, path)
    else:
        image = read_by_pillow(path)
    return image[:, :, None] if image.ndim == 2 else image


def read_array(path) -> np.ndarray:
    """An image that is an array of numbers."""
    try:
        image = np.load(path, allow_pickle=False)
    except (ValueError, EOFError, OSError) as error:
        raise corrupt(path, str(error)) from None
    if image.ndim not in (2, 3) or not image.size or image.dtype.kind not in "uif":
        raise corrupt(path, f"{image.dtype}{list(image.shape)}")
    return image


def read_by_pillow(path) -> np.ndarray:
    """Any image that Pillow reads, palettes as colours."""
    try:
        from PIL import Image
    except ImportError:
        raise DataError(f"{Path(path).name} takes Pillow to be read", at=str(path),
                        fix="pip install pillow, or save it as a PNG of 8 bits") from None
    try:
        with Image.open(path) as image:
            return np.asarray(image if image.mode in ("L", "LA", "RGB", "RGBA")
                              else image.convert("RGB"))
    except (OSError, SyntaxError, ValueError) as error:
        raise corrupt(path, str(error)) from None


def png_header(data: bytes, path) -> tuple[int, int, int] | None:
    """Width, height and colour type; None for a kind of PNG that is Pillow's."""
    if len(data) < 33 or data[12:16] != b"IHDR":
        raise corrupt(path, "no header")
    width, height, depth, colour, _, _, interlaced = struct.unpack(">IIBBBBB", data[16:29])
    if depth != 8 or interlaced or colour not in COLOUR_CHANNELS:
        return None
    if not 0 < width * height * COLOUR_CHANNELS[colour] <= LARGEST:
        raise corrupt(path, f"{width} x {height} pixels")
    return width, height, colour


def read_png(data: bytes, width: int, height: int, colour: int, path) -> np.ndarray:
    """The pixels of a PNG of 8 bits, not interlaced."""
    parts, palette, at = [], None, 8
    while at + 12 <= len(data):
        size, kind = struct.unpack(">I4s", data[at:at + 8])
        body, checksum = data[at + 8:at + 8 + size], data[at + 8 + size:at + 12 + size]
        if len(checksum) < 4 or zlib.crc32(kind + body) != struct.unpack(">I", checksum)[0]:
            raise corrupt(path, f"a wrong checksum in {kind!r}")
        if kind == b"IDAT":
            parts.append(body)
        elif kind == b"PLTE":
            palette = np.frombuffer(body, np.uint8)
        at += 12 + size
        if kind == b"IEND":
            break
    channels = COLOUR_CHANNELS[colour]
    stride = width * channels
    wanted = height * (stride + 1)
    try:
        raw = zlib.decompressobj().decompress(b"".join(parts), wanted)
    except zlib.error as error:
        raise corrupt(path, str(error)) from None
    if len(raw) != wanted:
        raise corrupt(path, f"{len(raw)} bytes, not {wanted}")
    lines = np.frombuffer(raw, np.uint8).reshape(height, stride + 1)
    if lines[:, 0].max() > 4:
        raise corrupt(path, f"filter {lines[:, 0].max()}")
    image = np.zeros((height, stride), np.uint8)
    before = np.zeros(stride, np.uint8)
    for line, row in zip(lines, image):
        row[:] = unfiltered(int(line[0]), line[1:], before, channels)
        before = row
    image = image.reshape(height, width, channels)
    if colour != 3:
        return image
    if palette is None or len(palette) % 3 or image.max() >= len(palette) // 3:
        raise corrupt(path, "colours that are not in its palette")
    return palette.reshape(-1, 3)[image[:, :, 0]]


def unfiltered(kind: int, line: np.ndarray, above: np.ndarray, step: int) -> np.ndarray:
    """A line of pixels from its differences; arithmetic is modulo 256 (PNG section 9.2)."""
    if kind == 0:
        return line
    if kind == 1:
        return np.cumsum(line.reshape(-1, step), axis=0, dtype=np.uint8).ravel()
    if kind == 2:
        return line + above
    found, up = line.tolist(), above.tolist()
    for i in range(len(found)):
        left = found[i - step] if i >= step else 0
        corner = up[i - step] if i >= step else 0
        guess = (left + up[i]) // 2 if kind == 3 else nearest(left, up[i], corner)
        found[i] = (found[i] + guess) & 255
    return np.array(found, np.uint8)


def nearest(left: int, up: int, corner: int) -> int:
    """Paeth's predictor: the neighbour nearest to ``left + up - corner``."""
    guess = left + up - corner
    return min((left, up, corner), key=lambda neighbour: abs(guess - neighbour))


def corrupt(path, got: str) -> CorruptFileError:
    """The error for a file that holds no image."""
    return CorruptFileError(f"{Path(path).name} holds no image that can be read", got=got[:80],
                            at=str(path), fix="make the file again, or leave it out")


def find_images(folder):
    """The images of a folder, labelled by the names of its subfolders.

    Parameters
    ----------
    folder : path
        Has a subfolder per class, with the images of that class in it or below.

    Returns
    -------
    Bunch
        ``data`` list of str, the paths, sorted within classes, ``target`` array of str, one per
        path, and ``target_names`` list of str.

    Raises
    ------
    DataNotFoundError
        If there is no such folder, or no image in a subfolder of it.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> import numpy as np
    >>> from gradatim.datasets import find_images
    >>> folder = pathlib.Path(tempfile.mkdtemp())
    >>> for name in ("cat", "dog"):
    ...     (folder / name).mkdir()
    ...     np.save(folder / name / "1.npy", np.zeros((4, 4)))
    >>> find_images(folder).target.tolist()
    ['cat', 'dog']
    """
    from sklearn.utils import Bunch
    found = []
    for part in sorted(p for p in Path(folder).glob("*") if p.is_dir()):
        found += [(str(path), part.name) for path in sorted(part.rglob("*"))
                  if path.suffix.lower() in SUFFIXES]
    if not found:
        raise DataNotFoundError("there are no images in subfolders of this folder", at=str(folder),
                                fix="give each class a subfolder with its images")
    paths, labels = map(list, zip(*found))
    return Bunch(data=paths, target=np.array(labels), target_names=sorted(set(labels)))
