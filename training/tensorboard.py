"""TensorBoard: the numbers of every epoch in event files, written without any other package."""
from __future__ import annotations

import os
import socket
import struct
from time import time

from ..backend.atomic import refusal
from .callbacks import Callback, a_path
from .ranks import once

CASTAGNOLI = 0x82F63B78        # CRC-32C's polynomial, bits reversed


class TensorBoard(Callback):
    """Write the numbers of every epoch for TensorBoard, which shows them as curves.

    Parameters
    ----------
    log_dir : str or path-like
        The folder, made if it is not there. As with Keras, numbers of training stand in
        ``train`` below it and those of validation data in ``validation``, both as ``epoch_loss``,
        ``epoch_accuracy`` and so on, so that each pair shares a chart.

    Raises
    ------
    FileAccessError
        During training, if the folder or a file cannot be written.

    Examples
    --------
    >>> import numpy as np, gradatim as gt
    >>> from gradatim.training import TensorBoard
    >>> trainer = gt.Trainer(gt.Sequential([gt.layers.Dense(1)]))
    >>> X = np.ones((8, 2))
    >>> _ = trainer.fit(X, X[:, :1], epochs=2, callbacks=TensorBoard("logs"))
    >>> import os
    >>> os.listdir("logs")
    ['train']
    """

    def __init__(self, log_dir="logs"):
        self.log_dir = a_path(log_dir)

    def on_fit_begin(self, run):
        run.memory(self).files = {}

    def on_epoch_end(self, run):
        once(run.team, lambda: self._write(run, run.memory(self).files))

    def _write(self, run, files: dict) -> None:
        """Add the numbers of an epoch."""
        parts: dict[str, dict[str, float]] = {"train": {}, "validation": {}}
        for name, value in run.logs.items():
            kind = "validation" if name.startswith("val_") else "train"
            parts[kind][f"epoch_{name.removeprefix('val_')}"] = value
        epoch = run.first_epoch + run.epoch
        for kind, numbers in parts.items():
            if not numbers:
                continue
            records = [] if kind in files else [event(version="brain.Event:2")]
            if kind not in files:
                name = f"events.out.tfevents.{time():.6f}.{socket.gethostname()}.{os.getpid()}"
                files[kind] = os.path.join(self.log_dir, kind, name)
            records += [event(epoch, tag, value) for tag, value in numbers.items()]
            try:
                os.makedirs(os.path.dirname(files[kind]), exist_ok=True)
                with open(files[kind], "ab") as file:
                    file.write(b"".join(map(framed, records)))
            except OSError as error:
                raise refusal(self.log_dir, error) from error


# ---- the format: protocol buffers in framed records ---------------------------------------------

def event(step: int = 0, tag: str = "", value: float = 0.0, version: str = "") -> bytes:
    """One event: what kind of file this is, or a number at a step."""
    head = b"\x09" + struct.pack("<d", time())                              # wall_time = 1
    if version:
        return head + field(3, version.encode())                           # file_version = 3
    number = field(1, tag.encode()) + b"\x15" + struct.pack("<f", value)   # tag = 1, simple_value
    return head + b"\x10" + varint(step) + field(5, field(1, number))      # step = 2, summary = 5


def field(number: int, content: bytes) -> bytes:
    """A field of bytes."""
    return varint(number << 3 | 2) + varint(len(content)) + content


def varint(value: int) -> bytes:
    """A whole number, seven bits a byte, the lowest first."""
    found = bytearray()
    while value > 0x7F:
        found.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*found, value])


def framed(record: bytes) -> bytes:
    """A record with its length and the checksums of both."""
    length = struct.pack("<Q", len(record))
    return length + checksum(length) + record + checksum(record)


def checksum(content: bytes) -> bytes:
    """CRC-32C, turned and shifted, since checksums of data with checksums are unsafe."""
    crc = 0xFFFFFFFF
    for byte in content:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (CASTAGNOLI if crc & 1 else 0)
    crc ^= 0xFFFFFFFF
    return struct.pack("<I", (crc >> 15 | crc << 17) + 0xA282EAD8 & 0xFFFFFFFF)
