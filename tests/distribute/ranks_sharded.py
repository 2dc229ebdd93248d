"""Training on samples of which each rank has its own; rank 0 writes what was learned."""
import sys

import numpy as np

import gradatim as gt
from gradatim import layers
from gradatim.backend.distribute import ShardedRows, local_communicators, world
from gradatim.backend.errors import DistributedError
from gradatim.datasets.batching import epoch_order
from gradatim.training import sources

RNG = np.random.default_rng(4)
X = RNG.standard_normal((300, 4)) * [1, 10, 0.1, 3] + 5
Y = X @ RNG.standard_normal((4, 2))
LABELS = np.array(["no", "yes", "perhaps"])[np.digitize(X[:, 0], [4.5, 5.5])]
LABELS[:80] = "no"                                 # the first rank knows one class alone
WEIGHTS = RNG.random(300) * (RNG.random(300) > 0.2)
IMAGES = RNG.standard_normal((300, 6, 6, 1))
SMALL = dict(hidden_layer_sizes=(6,), activation="tanh", random_state=0, epochs=5)


def parts(size):
    """Where the rows of so many ranks begin and end; none has as many as another."""
    edges = (300 * (np.arange(size + 1) / size) ** 1.5).astype(int)
    return list(zip(edges[:-1], edges[1:]))


def small(spec, n_outputs):
    """A net without dropout, which follows a row's place in the batch."""
    return gt.Sequential([layers.Conv2D(3, 3, activation="relu"), layers.Flatten(),
                          layers.Dense(n_outputs)])


def trainer(net, **settings):
    return lambda strategy: gt.Trainer(gt.Sequential(net()), dtype="float64", seed=5,
                                       strategy=strategy, **settings)


def estimator(kind, **settings):
    return lambda strategy: kind(strategy=strategy, **settings)


CASES = {
    "batches": (trainer(lambda: [layers.Dense(5, activation="tanh"), layers.BatchNormalization(),
                                 layers.Dense(2)], metrics=["r2"], alpha=0.1),
                X, Y, WEIGHTS, dict(epochs=2, batch_size=70, X_val=X[::-1], y_val=Y[::-1])),
    "accumulated": (trainer(lambda: [layers.Dense(2)], accumulate=2), X, Y, None,
                    dict(epochs=2, batch_size=40, validation_fraction=0.3)),
    "regressor": (estimator(gt.DNNRegressor, solver="full_batch", **SMALL), X, Y, WEIGHTS, {}),
    "classifier": (estimator(gt.DNNClassifier, solver="full_batch", early_stopping=True,
                             class_weight="balanced", **SMALL), X, LABELS, None, {}),
    "images": (estimator(gt.CNNClassifier, precision="float64", random_state=0, epochs=1,
                         batch_size=100, architecture=small), IMAGES, LABELS, None, {}),
    "lbfgs": (estimator(gt.LinearClassifier, solver="lbfgs", epochs=20, random_state=0),
              X, LABELS, WEIGHTS, {}),
}


def trained(case, strategy="single", rows=slice(None)):
    """Weights and numbers after a fit to some of the rows."""
    make, samples, y, weights, options = CASES[case]
    options = options | {k: v[rows] for k, v in options.items() if k in ("X_val", "y_val")}
    model = make(strategy)
    model.fit(samples[rows], y[rows], None if weights is None else weights[rows], **options)
    inner = model if isinstance(model, gt.Trainer) else model._fitted.trainer
    arrays = {name: v.numpy() for name, v in inner.variables().items()}
    history = model.history if inner is model else model.history_
    return arrays | {"numbers": np.array([list(logs.values()) for logs in history]),
                     "predictions": model.predict(samples[:9])}


def alone(case, size):
    """The same by one process that takes the rows in the order in which so many ranks do."""
    def in_turns(n, seed, epoch):
        counts = [last - first for first, last in spans(n, size)]
        turns = ShardedRows(np.zeros((counts[0], 1)), local_communicators(size)[0], counts).turns()
        rows = np.empty(n, np.int64)
        for rank, (first, last) in enumerate(spans(n, size)):
            rows[turns == rank] = first + epoch_order(last - first, seed, epoch)
        return rows

    def spans(n, size):
        if n == 300:
            return parts(size)
        kept = gt.training.split.split(np.arange(300), np.arange(300), None, 1 - n / 300, 5)[0][0]
        edges = np.searchsorted(kept, [first for first, _ in parts(size)] + [300])
        return list(zip(edges[:-1], edges[1:]))

    before, sources.epoch_order = sources.epoch_order, in_turns
    try:
        return trained(case)
    finally:
        sources.epoch_order = before


def refused(strategy, own):
    """What is said to categories of which every rank knows others."""
    model = gt.DNNClassifier(epochs=1, random_state=0, strategy=strategy,
                             categorical_features=[0])
    try:
        model.fit(np.array([["a"], [own]] * 20, object), [0, 1] * 20)
    except DistributedError as error:
        return str(error).splitlines()[0]


if __name__ == "__main__":
    team = world()
    assert refused(gt.DataParallel(data="sharded"), "bcd"[team.rank]) == \
        "rank 1 has different categories from rank 0"
    rows = slice(*parts(team.size)[team.rank])
    for case in CASES:
        found = trained(case, gt.DataParallel(data="sharded"), rows)
        bits = team.gather([a.tobytes() for a in found.values()])
        assert all(other == bits[0] for other in bits), f"{case}: the ranks differ"
        if team.rank == 0:
            np.savez(f"{sys.argv[1]}/{case}.npz", **found)
