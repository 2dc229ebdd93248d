"""TensorBoard's event files, read byte by byte, and learning rates set by a function."""
import os
import struct

import numpy as np
import pytest

import gradatim as gt
from gradatim import layers
from gradatim.backend.errors import FileAccessError, ParameterError
from gradatim.training import (Checkpoint, FunctionCallback, LearningRateScheduler, TensorBoard)
from gradatim.training.tensorboard import checksum, event, framed, varint

X = np.linspace(-1, 1, 12)[:, None]
Y = 2 * X + 1


def trainer(**settings):
    return gt.Trainer(gt.Sequential([layers.Dense(1)]), learning_rate=0.1, **settings)


def records(path):
    """The contents of a file of framed records, their checksums compared."""
    data, found = open(path, "rb").read(), []
    while data:
        size, = struct.unpack("<Q", data[:8])
        assert data[8:12] == checksum(data[:8])
        found.append(data[12:12 + size])
        assert data[12 + size:16 + size] == checksum(found[-1])
        data = data[16 + size:]
    return found


def fields(data):
    """(number, value) of a protocol buffer."""
    def whole(at):
        value = shift = 0
        while True:
            byte, at = data[at], at + 1
            value, shift = value | (byte & 0x7F) << shift, shift + 7
            if byte < 0x80:
                return value, at
    at, found = 0, []
    while at < len(data):
        key, at = whole(at)
        if key & 7 == 2:
            size, at = whole(at)
            value, at = data[at:at + size], at + size
        elif key & 7 == 0:
            value, at = whole(at)
        else:
            size = {1: 8, 5: 4}[key & 7]
            value, = struct.unpack({8: "<d", 4: "<f"}[size], data[at:at + size])
            at += size
        found.append((key >> 3, value))
    return found


def numbers(folder):
    """(step, tag, value) of the one file in a folder."""
    name, = os.listdir(folder)
    first, *rest = map(fields, records(os.path.join(folder, name)))
    assert dict(first)[3] == b"brain.Event:2"
    found = []
    for each in map(dict, rest):
        number = dict(fields(dict(fields(each[5]))[1]))
        found.append((each[2], number[1].decode(), number[2]))
    return found


def test_every_number_of_every_epoch_is_there(tmp_path):
    run = trainer(metrics=["mae"]).fit(X, Y, epochs=3, X_val=X, y_val=Y, first_epoch=5,
                                       callbacks=TensorBoard(tmp_path / "logs"))
    for kind, prefix in (("train", ""), ("validation", "val_")):
        want = [(5 + i, f"epoch_{name.removeprefix('val_')}", np.float32(value))
                for i, logs in enumerate(run.history) for name, value in logs.items()
                if name.startswith("val_") == bool(prefix)]
        assert numbers(tmp_path / "logs" / kind) == want


def test_without_validation_there_is_no_folder_for_it(tmp_path):
    trainer().fit(X, Y, epochs=1, callbacks=TensorBoard(tmp_path))
    assert os.listdir(tmp_path) == ["train"]


def test_checksums_and_numbers_are_the_formats():
    # CRC-32C of "123456789" is 0xE3069283; records turn it by 15 bits and add a constant.
    crc = 0xE3069283
    want = ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF
    assert checksum(b"123456789") == struct.pack("<I", want)
    assert varint(300) == b"\xac\x02" and varint(0) == b"\x00"
    assert len(framed(b"abc")) == 8 + 4 + 3 + 4
    assert dict(fields(event(2 ** 40, "a", 0.5)))[2] == 2 ** 40


def test_a_folder_that_cannot_be_made_is_told(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(FileAccessError, match='cannot write "file": Not a directory'):
        trainer().fit(X, Y, epochs=1, callbacks=TensorBoard(tmp_path / "file"))


# ---- learning rates by a function --------------------------------------------------------------

def test_every_epoch_has_the_functions_rate():
    run = trainer().fit(X, Y, epochs=4, callbacks=LearningRateScheduler(
        lambda epoch, rate: rate / 2 if epoch > 1 else 0.3))
    assert [logs["learning_rate"] for logs in run.history] == [0.3, 0.3, 0.15, 0.075]
    run = trainer().fit(X, Y, epochs=2, first_epoch=3, callbacks=LearningRateScheduler(
        lambda epoch, rate: epoch / 10))
    assert [logs["learning_rate"] for logs in run.history] == [0.3, 0.4]


def test_a_fit_that_was_killed_goes_on_with_its_rate(tmp_path):
    halve = LearningRateScheduler(lambda epoch, rate: rate / 2 if epoch else rate)

    def fit(path, kill=None):
        made = trainer()
        callbacks = [halve, Checkpoint(path), FunctionCallback(kill)]
        return made.fit(X, Y, epochs=4, callbacks=callbacks)

    def kill(run):
        if run.epoch == 1:
            raise RuntimeError("killed")
    with pytest.raises(RuntimeError):
        fit(tmp_path / "a.h5", kill)
    whole = fit(tmp_path / "b.h5")
    assert fit(tmp_path / "a.h5").history == whole.history


@pytest.mark.parametrize("make, text", [
    (lambda: LearningRateScheduler(0.1), "schedule must be callable, not 0.1"),
    (lambda: trainer().fit(X, Y, callbacks=LearningRateScheduler(lambda epoch, rate: None)),
     "the learning rate of the schedule must be a finite number from 0 on, not None")])
def test_error_texts(make, text):
    with pytest.raises(ParameterError) as caught:
        make()
    assert str(caught.value) == text
