"""Times a grid search of 12 candidates by 5 folds over a small dense net, beside skorch's.

``python -m benchmarks.search --peers-python VENV/bin/python``. Each search runs in a process of its
own, once to warm up on a small part of the grid and then in full; searches of both alternate.
Epochs, batches, net and Adam's rate are the same, and the accuracies found are printed beside the
times.
"""
from __future__ import annotations

import argparse
import json
import sys
from time import perf_counter

from .rounds import printed, say
from .table import OURS, keep, machine, summary, text

TARGET = 5.0                    # times as fast as skorch
ROWS, EPOCHS, BATCH, RATE = 1000, 10, 32, 1e-3
UNITS, PENALTIES = (16, 32, 64, 128), (0.0, 1e-4, 1e-3)


def data():
    """Samples around centres, in float32, and their classes."""
    from sklearn.datasets import make_classification
    X, y = make_classification(ROWS, 20, n_informative=10, n_classes=3, random_state=0)
    return X.astype("float32"), y.astype("int64")


def ours():
    """A net of gradatim and its grid."""
    from gradatim import DNNClassifier
    net = DNNClassifier(epochs=EPOCHS, batch_size=BATCH, learning_rate=RATE, schedule="constant",
                        solver="mini_batch", precision="float32", standardize=False,
                        random_state=0)
    return net, {"hidden_layer_sizes": [(u,) for u in UNITS], "alpha": list(PENALTIES)}


def theirs():
    """The same of skorch, without its own validation split and prints."""
    import torch
    from skorch import NeuralNetClassifier
    torch.set_num_threads(1)                           # faster than more, for nets this small

    class Net(torch.nn.Module):
        def __init__(self, units=16):
            super().__init__()
            self.layers = torch.nn.Sequential(torch.nn.Linear(20, units), torch.nn.ReLU(),
                                              torch.nn.Linear(units, 3))

        def forward(self, x):
            return self.layers(x)

    net = NeuralNetClassifier(Net, criterion=torch.nn.CrossEntropyLoss, max_epochs=EPOCHS,
                              batch_size=BATCH, lr=RATE, optimizer=torch.optim.Adam,
                              iterator_train__shuffle=True, train_split=None, verbose=0)
    return net, {"module__units": list(UNITS), "optimizer__weight_decay": list(PENALTIES)}


PEER = "skorch"
LIBRARIES = {OURS: ours, PEER: theirs}


def search(library: str) -> dict:
    """Seconds and the best accuracy of a whole search in this process."""
    from sklearn.model_selection import GridSearchCV
    (net, grid), (X, y) = LIBRARIES[library](), data()
    GridSearchCV(net, {k: v[:1] for k, v in grid.items()}, cv=2).fit(X, y)
    begin = perf_counter()
    found = GridSearchCV(net, grid, cv=5, refit=False).fit(X, y)
    return {"seconds": perf_counter() - begin, "accuracy": float(found.best_score_)}


def main(arguments: list[str] | None = None) -> dict:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--peers-python", default=sys.executable,
                        help="interpreter that has skorch installed; this one by default")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", metavar="FILE", help="where to keep the figures")
    parser.add_argument("--only", choices=LIBRARIES, help="search in this process and print JSON")
    options = parser.parse_args(arguments)
    if options.only:
        found = search(options.only)
        print(json.dumps(found))
        return found
    pythons = {OURS: sys.executable, PEER: options.peers_python}
    times, accuracies = {(name, ""): [] for name in pythons}, {}
    for _ in range(options.rounds):
        for name, python in pythons.items():
            try:
                told = printed(python, "-m", "benchmarks.search", "--only", name)
            except RuntimeError as error:
                say(f"{name} is left out: {error}")
                continue
            times[name, ""].append(told["seconds"] * 1e3)
            accuracies[name] = told["accuracy"]
    found = summary({key: t for key, t in times.items() if t}, {PEER: TARGET})
    print(text({"grid search": found}))
    for name, accuracy in accuracies.items():
        print(f"{name}: best accuracy {accuracy:.3f}")
    found = {"machine": machine(), **found, "accuracies": accuracies}
    keep(found, options.json)
    return found


if __name__ == "__main__":
    main()
