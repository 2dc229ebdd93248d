"""Hunt for rows whose prediction on the native backend depends on the rows beside them.

Run as ``python tests/native/hunt_neighbours.py --largest 40 --seeds 5`` for every number of
threads; the test suite runs a short form. A row alone gives the bits that it must give in every
batch of up to ``largest`` rows, at every position, among other neighbours, and with infinities and
NaN beside it.
"""
import argparse
import zlib

import numpy as np

import gradatim as gt
from gradatim import layers


def convolutions(filters: int, kernel_size: int, strides: int):
    """A net of odd sizes."""
    return [layers.Conv2D(filters, kernel_size, strides=strides, padding="same", use_bias=False),
            layers.BatchNormalization(), layers.Activation("relu"), layers.AveragePooling2D(2),
            layers.Conv2D(16, 3), layers.GlobalAveragePooling2D(), layers.Dense(7)]


NETS = {
    "dense": (lambda: [layers.Dense(37, "relu"), layers.Dense(128, "tanh"), layers.Dense(7)],
              (784,)),
    "long sums": (lambda: [layers.Dense(128, "relu"), layers.Dense(10)], (3136,)),
    "one output": (lambda: [layers.Dense(1)], (300,)),
    "normalised": (lambda: [layers.Dense(33), layers.LayerNormalization(), layers.Dropout(0.5),
                            layers.Dense(5, "softmax")], (50,)),
    "lenet": (lambda: [layers.Conv2D(32, 3, padding="same", activation="relu"),
                       layers.MaxPooling2D(2),
                       layers.Conv2D(64, 3, padding="same", activation="relu"),
                       layers.MaxPooling2D(2), layers.Flatten(), layers.Dense(128, "relu"),
                       layers.Dense(10)], (28, 28, 1)),
    "convolutions": (lambda: convolutions(13, 5, 2), (17, 11, 3)),
    "winograd": (lambda: convolutions(32, 3, 1), (13, 13, 16)),
    "depthwise": (lambda: [layers.DepthwiseConv2D(3), layers.Conv2D(19, 1), layers.MaxPooling2D(3),
                           layers.Flatten(), layers.Dense(3)], (12, 12, 6)),
    "text": (lambda: [layers.Embedding(50, 12), layers.Conv1D(9, 3), layers.GRU(20),
                      layers.Dense(7)], (11,)),
    "recurrent": (lambda: [layers.LSTM(33, return_sequences=True), layers.SimpleRNN(20),
                           layers.Dense(7)], (9, 13)),
    "both ways": (lambda: [layers.Bidirectional(layers.GRU(65)), layers.Dense(7)], (6, 4)),
}


def samples(rng, rows: int, shape, whole: bool) -> np.ndarray:
    """Random rows."""
    if whole:
        return rng.integers(0, 50, (rows, *shape))
    return rng.standard_normal((rows, *shape)).astype("float32")


def hunt(name: str, sizes, seed: int = 0) -> list[tuple]:
    """(batch size, what stands beside, position) of every row that is not as it is alone."""
    build, shape = NETS[name]
    model, whole = gt.Sequential(build()), name == "text"
    rng = np.random.default_rng([seed, zlib.crc32(name.encode())])
    functions = {}

    def predict(X):
        if len(X) not in functions:
            x = gt.placeholder(X.shape, str(X.dtype))
            functions[len(X)] = gt.function([x], model(x), backend="native")
        return functions[len(X)](X)

    X = samples(rng, max(sizes), shape, whole)
    predict(X[:1])
    for v in model.variables().values():       # no zeros: a missing bias would not be seen
        drawn = rng.standard_normal(v.shape).astype("float32") * 0.2
        v.assign(np.abs(drawn) + 0.5 if v.name.endswith("variance") else drawn)
    alone = np.concatenate([predict(row[None]) for row in X])
    odd = []

    def compare(batch, numbers, beside):
        out = predict(batch)
        for position, number in numbers:
            if out[position].tobytes() != alone[number].tobytes():
                odd.append((len(batch), beside, position))

    for size in sizes:
        chosen = rng.permutation(len(X))[:size]
        compare(X[:size], [(i, i) for i in range(size)], "the first")
        compare(X[chosen], list(enumerate(chosen)), "any")
        batch, position = samples(rng, size, shape, whole), int(rng.integers(size))
        if not whole:
            batch[...] = rng.choice([np.inf, -np.inf, np.nan, 1e30], (size,) + (1,) * len(shape))
        batch[position] = X[0]
        compare(batch, [(position, 0)], "infinities and NaN")
    return odd


def main() -> None:
    """Hunt through all nets."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--largest", type=int, default=40)
    parser.add_argument("--seeds", type=int, default=5)
    options = parser.parse_args()
    found = 0
    for name in NETS:
        for seed in range(options.seeds):
            odd = hunt(name, range(1, options.largest + 1), seed)
            found += len(odd)
            if odd:
                print(f"{name}, seed {seed}: {odd[:8]}")
    print(f"{found} rows depend on their neighbours")
    raise SystemExit(bool(found))


if __name__ == "__main__":
    main()
