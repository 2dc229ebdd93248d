"""Readers of data files on truncated, altered and forged ones: a clean error, quickly."""
import gzip
import io
import struct
import tarfile
import time
import tracemalloc

import numpy as np
import pytest

import gradatim.datasets as gd
from gradatim.backend.errors import (
    CorruptFileError, DataError, DataNotFoundError, ParameterError)

# IDX

IDX_TYPES = [(0x08, ">u1"), (0x09, ">i1"), (0x0B, ">i2"), (0x0C, ">i4"), (0x0D, ">f4"),
             (0x0E, ">f8")]


def idx_bytes(code, array):
    """An array in IDX form, from the format's description."""
    return (bytes([0, 0, code, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
            + array.tobytes())


@pytest.mark.parametrize("code, dtype", IDX_TYPES)
@pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["plain", "gzip"])
def test_idx_types(tmp_path, code, dtype, pack):
    array = np.array([[[1, 2, 3], [-4 if dtype != ">u1" else 4, 5, 6]]], dtype)
    (tmp_path / "a").write_bytes(pack(idx_bytes(code, array)))
    read = gd.read_idx(tmp_path / "a")
    np.testing.assert_array_equal(read, array)
    assert read.dtype.isnative and read.dtype.str[1:] == dtype[1:] and read.flags.writeable


GOOD_IDX = idx_bytes(0x08, np.arange(12, dtype=np.uint8).reshape(3, 4))
ZIPPED_IDX = gzip.compress(GOOD_IDX)
BAD_IDX = {
    "empty": b"",
    "first byte": b"\1" + GOOD_IDX[1:],
    "unknown type": GOOD_IDX[:2] + b"\x0a" + GOOD_IDX[3:],
    "rank zero": GOOD_IDX[:3] + b"\0" + GOOD_IDX[4:],
    "rank 255": GOOD_IDX[:3] + b"\xff" + GOOD_IDX[4:] + bytes(2000),
    "no rows": idx_bytes(0x08, np.zeros((0, 4), np.uint8)),
    "trailing byte": GOOD_IDX + b"\0",
    "16 exabytes": bytes([0, 0, 8, 2]) + b"\xff" * 8 + bytes(100),
    "4 GB in gzip": gzip.compress(bytes([0, 0, 8, 1]) + b"\xff" * 4 + bytes(100)),
    "trailing byte in gzip": gzip.compress(GOOD_IDX + b"\0"),
    "bytes after gzip": ZIPPED_IDX + b"rubbish",
    "gzip checksum": ZIPPED_IDX[:-8] + b"\0\0\0\0" + ZIPPED_IDX[-4:],
    "gzip stream": ZIPPED_IDX[:12] + b"\xff\xff" + ZIPPED_IDX[14:],
    **{f"first {n}": GOOD_IDX[:n] for n in range(1, len(GOOD_IDX))},
    **{f"first {n} of gzip": ZIPPED_IDX[:n] for n in range(1, len(ZIPPED_IDX))},
}


@pytest.mark.parametrize("content", BAD_IDX.values(), ids=BAD_IDX)
def test_bad_idx_is_refused(tmp_path, content):
    (tmp_path / "bad").write_bytes(content)
    with pytest.raises(CorruptFileError, match="\n  fix  "):
        gd.read_idx(tmp_path / "bad")


def test_forged_idx_headers_cost_neither_memory_nor_time(tmp_path):
    long = gzip.compress(idx_bytes(0x08, np.zeros(10, np.uint8)) + bytes(100_000_000), 1)
    (tmp_path / "long").write_bytes(long)  # declares 10 bytes, unpacks to 100 MB
    (tmp_path / "wide").write_bytes(  # declares 400 MB, which its size allows, and has 100 bytes
        gzip.compress(bytes([0, 0, 8, 1]) + struct.pack(">I", 400_000_000)
                      + np.random.default_rng(0).bytes(400_000)))
    tracemalloc.start()
    started = time.perf_counter()
    for name in ("long", "wide"):
        with pytest.raises(CorruptFileError):
            gd.read_idx(tmp_path / name)
    assert time.perf_counter() - started < 1.0
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8 << 20


def test_idx_that_is_not_there(tmp_path):
    with pytest.raises(DataNotFoundError, match="there is no such IDX file"):
        gd.read_idx(tmp_path / "none")


# CIFAR-10

CIFAR_NAMES = [*(f"data_batch_{i}.bin" for i in range(1, 6)), "test_batch.bin"]


def cifar_parts(records=2):
    """Six small batches: label, then a plane of each colour that counts pixels."""
    rng = np.random.default_rng(0)
    parts = rng.integers(0, 256, (6, records, 3073), dtype=np.uint8)
    parts[:, :, 0] %= 10
    return {name: part.tobytes() for name, part in zip(CIFAR_NAMES, parts)}


def tar_bytes(members, folder="cifar-10-batches-bin"):
    """A compressed archive of (name, content or TarInfo type) pairs."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as archive:
        for name, content in members:
            info = tarfile.TarInfo(f"{folder}/{name}")
            if isinstance(content, bytes):
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))
            else:
                info.type, info.linkname = content, "/etc/passwd"
                archive.addfile(info)
    return stream.getvalue()


def test_cifar10_from_a_folder_and_from_an_archive(tmp_path):
    parts = cifar_parts()
    folder = tmp_path / "cifar-10-batches-bin"
    folder.mkdir()
    for name, content in parts.items():
        (folder / name).write_bytes(content)
    others = [("readme.html", b"text"), ("../../evil", b"x"), ("batches.meta.txt", b"airplane\n")]
    archive = tmp_path / "cifar-10-binary.tar.gz"
    archive.write_bytes(tar_bytes([*others, *reversed(parts.items())]))
    before = sorted(tmp_path.rglob("*"))
    from_folder, from_archive = gd.read_cifar10(folder, 2), gd.read_cifar10(archive, 2)
    assert sorted(tmp_path.rglob("*")) == before  # nothing was unpacked
    for a, b in zip(from_folder, from_archive, strict=True):
        np.testing.assert_array_equal(a, b)
    X_train, y_train, X_test, y_test = from_folder
    assert X_train.shape == (10, 32, 32, 3) and X_test.shape == (2, 32, 32, 3)
    record = parts["data_batch_2.bin"][3073:]  # its second image is number 3 of all
    assert y_train[3] == record[0]
    row, column, channel = 5, 7, 2
    assert X_train[3, row, column, channel] == record[1 + channel * 1024 + row * 32 + column]


def edited(**changes):
    """The members of an archive with some contents changed; None leaves one out."""
    parts = {**cifar_parts(), **{name + ".bin": content for name, content in changes.items()}}
    return [(name, content) for name, content in parts.items() if content is not None]


GOOD_TAR = tar_bytes(edited())
BAD_CIFAR = {
    "short": tar_bytes(edited(test_batch=bytes(3073 * 2 - 1))),
    "long": tar_bytes(edited(test_batch=bytes(3073 * 2 + 1))),
    "label": tar_bytes(edited(data_batch_3=b"\x0a" + bytes(3073 * 2 - 1))),
    "twice": tar_bytes([*edited(), ("test_batch.bin", bytes(3073 * 2))]),
    "symbolic link": tar_bytes(edited(test_batch=tarfile.SYMTYPE)),
    "hard link": tar_bytes(edited(test_batch=tarfile.LNKTYPE)),
    "device": tar_bytes(edited(test_batch=tarfile.CHRTYPE)),
    "bomb": tar_bytes([("readme.html", bytes(50_000_000)), *edited()]),
    "half": GOOD_TAR[:len(GOOD_TAR) // 2],
    "checksum": GOOD_TAR[:-8] + b"\0\0\0\0" + GOOD_TAR[-4:],
    "no archive": b"rubbish",
    "no tar": gzip.compress(b"rubbish" * 1000),
}


@pytest.mark.parametrize("content", BAD_CIFAR.values(), ids=BAD_CIFAR)
def test_bad_cifar10_is_refused(tmp_path, content):
    (tmp_path / "bad.tar.gz").write_bytes(content)
    with pytest.raises(CorruptFileError, match="\n  fix  "):
        gd.read_cifar10(tmp_path / "bad.tar.gz", 2)


@pytest.mark.parametrize("content", [tar_bytes(edited(data_batch_4=None)),
                                     tar_bytes(edited(), folder="elsewhere")])
def test_incomplete_cifar10_names_what_is_missing(tmp_path, content):
    (tmp_path / "part.tar.gz").write_bytes(content)
    with pytest.raises(DataNotFoundError, match=r"missing  .*data_batch_4\.bin"):
        gd.read_cifar10(tmp_path / "part.tar.gz", 2)


@pytest.mark.parametrize("size", [3072, 3074])
def test_cifar10_folder_with_a_wrong_size(tmp_path, size):
    for name in CIFAR_NAMES:
        (tmp_path / name).write_bytes(bytes(size))
    with pytest.raises(CorruptFileError, match="another size"):
        gd.read_cifar10(tmp_path, 1)


# Text formats

@pytest.mark.parametrize("text, message", [
    ("", "no @data"),
    ("@data\n", "no sequences"),
    ("rubbish\n@data\n1,2", "not a line of a .ts header"),
    ("@dimensions 2\n@data\n1,2", "promises 2 channels"),
    ("@univariate true\n@data\n1,2:3,4", "promises 1 channels"),
    ("@equalLength true\n@data\n1,2\n1,2,3", "promises equal lengths"),
    ("@classLabel true a b\n@data\n1,2:c", "label is not among"),
    ("@data\n1,two", "not a number"),
    ("@data\n1,2:3", "differ in length"),
    ("@timeStamps true\n@data\n(1,2)", "@timestamps is not supported"),
])
def test_bad_ts_is_refused(tmp_path, text, message):
    (tmp_path / "bad.ts").write_text(text)
    with pytest.raises(CorruptFileError, match=message):
        gd.read_ts(tmp_path / "bad.ts")


def test_ts_without_labels_and_with_missing_values(tmp_path):
    (tmp_path / "a.ts").write_text("# note\n@univariate true\n@classLabel false\n@data\n1,?\n3\n")
    bunch = gd.read_ts(tmp_path / "a.ts")
    assert bunch.target is None and [len(x) for x in bunch.data] == [2, 1]
    assert np.isnan(bunch.data[0][1, 0])


HEADER = "@relation r\n@attribute a {1, 2}\n@attribute 'b c' real\n@data\n"


@pytest.mark.parametrize("text, message", [
    ("", "no data"),
    (HEADER, "no data"),
    (HEADER + "1,2,3\n", "promises 2 columns"),
    (HEADER + "3,2\n", "not among the header's"),
    (HEADER + "1,x\n", "not a number"),
    (HEADER.replace("real", "string") + "1,x\n", "neither numeric nor nominal"),
    ("rubbish\n" + HEADER + "1,2\n", "not a line of an ARFF header"),
])
def test_bad_arff_is_refused(tmp_path, text, message):
    (tmp_path / "bad.arff").write_text(text)
    with pytest.raises(CorruptFileError, match=message):
        gd.read_arff(tmp_path / "bad.arff")


@pytest.mark.parametrize("name, path, change", [
    ("wine_quality", "wine-quality/winequality-red.csv", lambda text: text[:-100]),
    ("wine_quality", "wine-quality/winequality-red.csv", lambda text: text.replace("7.4", "x", 1)),
    ("wine_quality", "wine-quality/winequality-red.csv", lambda text: text + text),
    ("auto_mpg", "auto-mpg/autoMpg.arff", lambda text: text[:-30]),
    ("etth1", "ett/ETTh1.csv", lambda text: text[:-1000]),
    ("etth1", "ett/ETTh1.csv", lambda text: text.replace("2016-07-01 05", "2016-07-01 06")),
    ("etth1", "ett/ETTh1.csv", lambda text: text.replace("2016-07-01 05", "yesterday")),
    ("etth1", "ett/ETTh1.csv", lambda text: text.replace("OT", "TO")),
    ("names", "names/names.txt", lambda text: text.replace("emma", "Em ma")),
])
def test_altered_files_are_refused(data_home, tmp_path, name, path, change):
    (tmp_path / path).parent.mkdir()
    (tmp_path / path).write_text(change((data_home / path).read_text()))
    with pytest.raises(CorruptFileError):
        getattr(gd, f"load_{name}")(data_home=tmp_path)


def test_a_valid_idx_file_of_another_set_is_refused(data_home, tmp_path):
    folder = tmp_path / "mnist"
    folder.mkdir()
    for part in ("train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1"):
        (folder / f"{part}-ubyte.gz").write_bytes(GOOD_IDX)
    with pytest.raises(CorruptFileError, match="this is not a file of MNIST: train-images"):
        gd.load_mnist(data_home=tmp_path)


def test_load_text_says_what_is_wrong(tmp_path):
    path = tmp_path / "latin.txt"
    path.write_bytes(b"caf\xe9\r\n")
    assert gd.load_text(path, "latin-1") == "caf\xe9\r\n"
    with pytest.raises(DataError) as caught:
        gd.load_text(path)
    assert str(caught.value) == (
        "this file is not utf-8 text: latin.txt\n  got  byte 0xe9 at position 3\n"
        f"  at   {path}\n"
        '  fix  pass the file\'s own encoding, e.g. encoding="latin-1"')
    for arguments, kind in (((tmp_path,), DataError), ((tmp_path / "no",), DataNotFoundError),
                            ((path, "morse"), ParameterError)):
        with pytest.raises(kind):
            gd.load_text(*arguments)
