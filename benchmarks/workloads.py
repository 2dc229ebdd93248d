"""What is measured: nets, data, batch sizes and targets, each written once for every library.

A net is a list of words that each engine translates to its own layers. Data come from a seed, so
every process makes the same arrays.
"""
from __future__ import annotations

from typing import NamedTuple

import numpy as np

CLASSES, CHARACTERS, SHORTEST = 10, 65, 10

LENET = [("conv", 32), ("pool",), ("conv", 64), ("pool",), ("flatten",),
         ("dense", 128, "relu"), ("dense", CLASSES, None)]
MLP = [("dense", 128, "relu"), ("dense", CLASSES, None)]
RESNET20 = [("conv_norm", 16),
            *(("residual", filters, 2 if block == 0 and filters > 16 else 1)
              for filters in (16, 32, 64) for block in range(3)),
            ("average",), ("dense", CLASSES, None)]


def character_lstm(embedding: int, units: int) -> list[tuple]:
    """Predicts the next character at every step."""
    return [("embedding", CHARACTERS, embedding), ("lstm", units), ("dense", CHARACTERS, None)]


class Workload(NamedTuple):
    """One row of the table.

    Attributes
    ----------
    kind : {"train", "infer", "solve", "row", "fresh", "loss", "update"}
        Training steps; forward passes; a least-squares fit; one row through an estimator, less
        the time of its program; a whole process from start to end; a cross-entropy and its
        gradient alone; an optimizer's update alone.
    net : list of tuple
        Words for the engines.
    shape : tuple of int
        Of one sample; for "solve" of the whole table.
    batch : int
        Samples per step.
    steps : int
        Steps per round; the same for every library.
    targets : dict
        How many times as fast as a peer gradatim is meant to be; "fastest" stands for the fastest
        of them all, "limit" for milliseconds that are not to be exceeded.
    lengths : bool
        Whether sequences have lengths of their own.
    backend : {"cpu", "cuda"}
        What it is run on.
    precision : str
        As the estimators' parameter.
    """
    kind: str
    net: list
    shape: tuple[int, ...]
    batch: int
    steps: int
    targets: dict[str, float]
    lengths: bool = False
    backend: str = "cpu"
    precision: str = "float32"

    def small(self) -> Workload:
        """The same at a size for trying the scripts out."""
        shape = {"solve": (2000, 5), "loss": (50,), "update": (1000,)}.get(self.kind, self.shape)
        return self._replace(shape=shape, batch=min(self.batch, 4), steps=2)


SMALL_LSTM, LARGE_LSTM = character_lstm(64, 128), character_lstm(128, 256)
IMAGE, COLOUR = (28, 28, 1), (32, 32, 3)

WORKLOADS = {
    "mlp-32": Workload("train", MLP, (784,), 32, 400, {"fastest": 2.0}),
    "mlp-128": Workload("train", MLP, (784,), 128, 200, {"fastest": 2.0}),
    "mlp-1024": Workload("train", MLP, (784,), 1024, 40, {"fastest": 2.0}),
    "lenet-32": Workload("train", LENET, IMAGE, 32, 60, {"fastest": 4.0}),
    "lenet-128": Workload("train", LENET, IMAGE, 128, 20, {"fastest": 1.9}),
    "resnet20-128": Workload("train", RESNET20, COLOUR, 128, 5, {"fastest": 1.8}),
    "lstm-128": Workload("train", SMALL_LSTM, (64,), 32, 40, {"fastest": 1.7}),
    "lstm-256": Workload("train", LARGE_LSTM, (100,), 64, 8, {"fastest": 2.0}),
    "lstm-128-lengths": Workload("train", SMALL_LSTM, (100,), 32, 30, {"fastest": 2.0}, True),
    "lstm-256-lengths": Workload("train", LARGE_LSTM, (100,), 64, 8, {"fastest": 2.0}, True),
    "least-squares": Workload("solve", [], (1_000_000, 100), 0, 1,
                              {"LinearRegression": 30.0, "Ridge": 2.0}),
    "predict-1": Workload("infer", LENET, IMAGE, 1, 2000, {"onnxruntime": 0.9}),
    "predict-32": Workload("infer", LENET, IMAGE, 32, 200, {"onnxruntime": 0.9}),
    "predict-256": Workload("infer", LENET, IMAGE, 256, 30, {"onnxruntime": 0.9}),
    "one-row": Workload("row", MLP, (784,), 1, 1000, {"limit": 0.15}),
    "fresh-process": Workload("fresh", LENET, (8, 8, 1), 32, 1,
                              {"PyTorch": 1.5, "Keras-TensorFlow": 4.0}),
}
FRESH_EPOCHS = 3


def on_gpu(kind: str, net: list, shape, batch: int, steps: int, eager: float, compiled: float,
           precision: str = "float32") -> Workload:
    """A workload of the CUDA backend, with targets against PyTorch eager and compiled."""
    targets = {"PyTorch": eager, "PyTorch-compiled": compiled}
    return Workload(kind, net, shape, batch, steps, targets, backend="cuda", precision=precision)


RESNET18 = [("conv_norm", 64),
            *(("residual", filters, 2 if block == 0 and filters > 64 else 1)
              for filters in (64, 128, 256, 512) for block in range(2)),
            ("average",), ("dense", CLASSES, None)]
WIDE_MLP = [("dense", 256, "relu"), ("dense", CLASSES, None)]

CUDA_WORKLOADS = {
    "cuda-mlp-128": on_gpu("train", WIDE_MLP, (784,), 128, 400, 8.0, 2.0),
    "cuda-lenet-128": on_gpu("train", LENET, IMAGE, 128, 200, 6.0, 1.5),
    "cuda-resnet18-512": on_gpu("train", RESNET18, COLOUR, 512, 10, 1.4, 1.1, "bfloat16"),
    "cuda-lstm-512": on_gpu("train", character_lstm(128, 512), (256,), 64, 10, 2.5, 2.5),
    "cuda-cross-entropy": on_gpu("loss", [], (32000,), 8192, 20, 2.5, 1.3),
    "cuda-adam": on_gpu("update", [], (100_000_000,), 1, 20, 2.3, 0.95),
}
TABLES = {"cpu": WORKLOADS, "cuda": CUDA_WORKLOADS}
EVERY = WORKLOADS | CUDA_WORKLOADS


class Data(NamedTuple):
    """Arrays of ``steps`` batches, one after another."""
    X: np.ndarray                       # (steps * batch, ...)
    y: np.ndarray                       # (steps * batch,), or (steps * batch, time)
    lengths: np.ndarray | None          # (steps * batch,)

    @property
    def mask(self) -> np.ndarray:
        """Which steps of a sequence count."""
        return np.arange(self.X.shape[1]) < self.lengths[:, None]


def training_data(work: Workload) -> Data:
    """Random samples and labels: neither changes how long a step takes."""
    rng, rows = np.random.default_rng(0), work.steps * work.batch
    if work.net[0][0] != "embedding":
        X = rng.standard_normal((rows, *work.shape), np.float32)
        return Data(X, rng.integers(0, CLASSES, rows), None)
    text = rng.integers(0, CHARACTERS, (rows, work.shape[0] + 1))
    X, y = np.ascontiguousarray(text[:, :-1]), np.ascontiguousarray(text[:, 1:])
    lengths = rng.integers(SHORTEST, work.shape[0] + 1, rows) if work.lengths else None
    return Data(X, y, lengths)


def least_squares_data(work: Workload) -> tuple[np.ndarray, np.ndarray]:
    """A well-conditioned linear problem with noise, float64."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal(work.shape)
    return X, X @ rng.standard_normal(work.shape[1]) + 3.0 + rng.standard_normal(work.shape[0])


def lenet_weights() -> list[tuple[np.ndarray, np.ndarray]]:
    """Kernels and biases, layer by layer: (3, 3, in, out) and (in, out), images channels last."""
    rng = np.random.default_rng(0)
    shapes = [(3, 3, 1, 32), (3, 3, 32, 64), (7 * 7 * 64, 128), (128, CLASSES)]
    return [((rng.standard_normal(s) / np.sqrt(np.prod(s[:-1]))).astype("float32"),
             (0.1 * rng.standard_normal(s[-1])).astype("float32")) for s in shapes]


def lenet_weights_channels_first() -> list[tuple[np.ndarray, np.ndarray]]:
    """The same net for images channels first: (out, in, 3, 3) and (out, in)."""
    *convolutions, hidden, last = lenet_weights()
    kernel = hidden[0].reshape(7, 7, 64, 128).transpose(2, 0, 1, 3).reshape(-1, 128)
    found = [(w.transpose(3, 2, 0, 1), b) for w, b in convolutions]
    found += [(kernel.T, hidden[1]), (last[0].T, last[1])]
    return [(np.ascontiguousarray(w), b) for w, b in found]
