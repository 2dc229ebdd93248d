"""Break model files by the thousand: kills during a save, flipped bits, and forged checksums.

Run as ``python tests/backend/fuzz_model_file.py --rounds 500 --flips 10000``; the test suite runs a
short form. Every attempt happens in a forked child, so that a crash would be counted, not suffered.
"""
import argparse
import hashlib
import os
import random
import signal
import struct
import sys
import tempfile
import time

import numpy as np

from gradatim.backend.errors import CorruptFileError
from gradatim.backend.model_file import read_model, write_model


def sample(version: int, size: int = 60_000) -> tuple[dict, dict]:
    """A model that says its version in every tensor."""
    manifest = {"version": version, "layers": [{"name": "dense", "units": 3}], "rate": float("inf")}
    arrays = {"dense/kernel": np.full(size, version, "float32"), "dense/bias": np.full(3, version),
              "classes": np.array(["no", "yes"]), "flags": np.array([True, False])}
    return manifest, arrays


def kill_saves(path: str, rounds: int, rng: random.Random) -> dict:
    """Kill a saving child at random times; the file must always be one whole version."""
    write_model(path, *sample(0))
    counts = {"old": 0, "new": 0, "left behind": 0}
    for i in range(1, rounds + 1):
        before = read_model(path)[0]["version"]
        child = os.fork()
        if child == 0:
            while True:
                write_model(path, *sample(i))
        time.sleep(rng.uniform(0, 0.02))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        manifest, arrays = read_model(path)
        version = manifest["version"]
        assert version in (before, i), f"round {i} left version {version}"
        assert (arrays["dense/kernel"] == version).all(), f"round {i} mixed two versions"
        counts["new" if version == i else "old"] += 1
    for name in os.listdir(os.path.dirname(path)):
        if name.endswith(".tmp"):
            counts["left behind"] += 1
            os.unlink(os.path.join(os.path.dirname(path), name))
    return counts


def forged(data: bytes, rng: random.Random) -> bytes:
    """The file with a few bytes of its HDF5 body changed and a checksum that fits again."""
    body = bytearray(data[512:])
    for _ in range(rng.choice((1, 1, 2, 4, 8))):
        at = rng.randrange(len(body))
        body[at] = rng.choice((0, 1, 0x7f, 0xff, body[at] ^ (1 << rng.randrange(8))))
    digest = hashlib.sha256(body).digest()
    return struct.pack("<8sIQ32s460x", b"GRADATIM", 1, len(body), digest) + body


def read_outcome(path: str) -> int:
    """0 if a forked child refused the file, 1 if it loaded, 2 for any other exception."""
    try:
        read_model(path)
    except CorruptFileError:
        return 0
    except BaseException as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 2
    return 1


def flip_and_forge(path: str, flips: int, rng: random.Random) -> dict:
    """Count what becomes of files with changed bytes, first as they are, then resigned."""
    write_model(path, *sample(1, size=50))
    with open(path, "rb") as stream:
        data = stream.read()
    counts = {"flips refused": 0, "flips missed": 0,
              "forged refused": 0, "forged loaded": 0, "forged odd": 0, "crashes": 0}
    for _ in range(flips):
        changed = bytearray(data)
        changed[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        with open(path, "wb") as stream:
            stream.write(changed)
        counts["flips missed" if read_outcome(path) else "flips refused"] += 1
    for _ in range(flips):
        with open(path, "wb") as stream:
            stream.write(forged(data, rng))
        child = os.fork()
        if child == 0:
            signal.alarm(10)
            os._exit(read_outcome(path))
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        names = {0: "forged refused", 1: "forged loaded", 2: "forged odd"}
        counts[names.get(status, "crashes")] += 1
    return counts


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=500, help="saves to kill")
    parser.add_argument("--flips", type=int, default=2000, help="files to damage, and to forge")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    rng = random.Random(options.seed)
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "model.h5")
        kills = kill_saves(path, options.rounds, rng)
        files = flip_and_forge(path, options.flips, rng)
    print("kills", kills)
    print("files", files)
    return int(bool(files["flips missed"] or files["forged odd"] or files["crashes"]))


if __name__ == "__main__":
    sys.exit(main())
