"""gradatim's side of the benchmark."""
from __future__ import annotations

import time
from itertools import count
from threading import Thread

import numpy as np

import gradatim as gt
from gradatim import layers
from gradatim.training import Adam
from gradatim.training.stepping import added, feeds_of
from gradatim.training.sources import Batch

from benchmarks.workloads import LENET, least_squares_data, lenet_weights, training_data


def residual(x, filters: int, strides: int):
    """Two convolutions beside a shortcut, which is projected where the shape changes."""
    h = convolution_norm(x, filters, strides)
    h = layers.BatchNormalization()(
        layers.Conv2D(filters, 3, padding="same", use_bias=False)(h))
    if strides > 1:
        x = layers.BatchNormalization()(
            layers.Conv2D(filters, 1, strides=strides, use_bias=False)(x))
    return layers.ReLU()(layers.Add()([h, x]))


def convolution_norm(x, filters: int, strides: int = 1):
    """Convolution, batch normalisation, ReLU."""
    x = layers.Conv2D(filters, 3, strides=strides, padding="same", use_bias=False)(x)
    return layers.ReLU()(layers.BatchNormalization()(x))


WORDS = {
    "dense": lambda x, units, activation: layers.Dense(units, activation=activation)(x),
    "conv": lambda x, n: layers.Conv2D(n, 3, padding="same", activation="relu")(x),
    "pool": lambda x: layers.MaxPooling2D(2)(x),
    "flatten": lambda x: layers.Flatten()(x),
    "average": lambda x: layers.GlobalAveragePooling2D()(x),
    "embedding": lambda x, many, width: layers.Embedding(many, width)(x),
    "lstm": lambda x, units: layers.LSTM(units, return_sequences=True)(x),
    "conv_norm": convolution_norm,
    "residual": residual,
}


def build(net: list, shape) -> gt.Model:
    """The net as a model."""
    start = gt.Input(shape, "int64") if net[0][0] == "embedding" else gt.Input(shape)
    x = start
    for word, *settings in net:
        x = WORDS[word](x, *settings)
    return gt.Model(start, x)


def trainer_for(net: list, shape, precision: str | None = None, backend="auto",
                **options) -> gt.Trainer:
    """Adam 1e-3 on the cross-entropy, accuracy counted."""
    loss = layers.SparseCategoricalCrossentropy(from_logits=True)
    return gt.Trainer(build(net, shape), loss=loss, optimizer="adam", learning_rate=1e-3,
                      metrics=["accuracy"], precision=precision, backend=backend, **options)


class Engine:
    """Prepares rounds."""
    variants = [""]

    def __init__(self, setting: str, threads: int):
        self.threads = threads
        self.version = f"{gt.__version__}, backend {gt.get_backend().name}"

    def prepare(self, work, variant: str):
        """What runs one round, and what is known beforehand."""
        return getattr(self, work.kind)(work)

    def train(self, work):
        """`Trainer.fit` for one epoch; with lengths, its compiled step on the given batches."""
        trainer, data, batches = training_parts(work)
        compute = trainer.training_function(batches[0])[0]

        def fit():
            run = trainer.fit(data.X, data.y, epochs=1, batch_size=work.batch, shuffle=False)
            return {"loss": run.logs["loss"]}

        def steps():
            totals = []
            for batch in batches:
                function, names = trainer.training_function(batch)
                *sums, _ = function(*feeds_of(batch))
                totals = added(totals, sums)
            return {"loss": trainer.logs(names, totals)["loss"]}

        round_of = steps if work.lengths else fit
        round_of()
        plan = compute.plan()
        facts = {"fall_backs": list(plan.fall_backs)}
        if not work.lengths:            # a plan counts padded steps, too, which may be passed over
            facts["flops"] = plan.flops
        return round_of, facts

    def infer(self, work):
        """A compiled forward pass."""
        model, x = build(work.net, work.shape), gt.placeholder((work.batch, *work.shape))
        compute = gt.function([x], model(x))
        variables = list(model.variables().values())
        for v, value in zip(variables, (a for pair in lenet_weights() for a in pair)):
            v.assign(value)
        X = training_data(work._replace(steps=1)).X
        first = compute(X)

        def calls():
            for _ in range(work.steps):
                compute(X)

        calls()
        return calls, {"flops": compute.plan().flops, "output": first[0].tolist()}

    def solve(self, work):
        """LinearRegressor on a table."""
        X, y = least_squares_data(work)
        gt.LinearRegressor().fit(X[:1000], y[:1000])

        def fit():
            begin = time.perf_counter()
            model = gt.LinearRegressor().fit(X, y)
            return {"seconds": time.perf_counter() - begin, "coefficients": model.coef_.tolist()}

        return fit, {}

    def loss(self, work):
        """The cross-entropy of many classes and its gradient, all in the backend's memory."""
        rng, shape = np.random.default_rng(0), (work.batch, *work.shape)
        logits = gt.variable(rng.standard_normal(shape, np.float32), name="logits")
        slopes = gt.variable(shape, name="slopes")
        labels = gt.constant(rng.integers(0, work.shape[0], work.batch))
        loss = gt.softmax_cross_entropy(logits, labels).mean()
        step = gt.function([], loss, updates={slopes: gt.gradients(loss, [logits])[0]},
                           backend=work.backend)
        return repeated(step, work.steps), {"fall_backs": list(step.plan().fall_backs)}

    def update(self, work):
        """One step of Adam on many parameters."""
        adam, step = Adam(), gt.variable(np.int64(0), name="step")
        weights = {"w": gt.variable(work.shape, name="w")}
        slopes = gt.variable(np.ones(work.shape, np.float32), name="slopes")
        made = adam.updates(weights, {"w": slopes}, adam.state_for(weights),
                            gt.constant(np.float64(1e-3)), step)
        run = gt.function([], [], updates={**made, step: step + 1}, backend=work.backend)
        return repeated(run, work.steps), {"fall_backs": list(run.plan().fall_backs)}

    def row(self, work):
        """`DNNClassifier.predict` of one row, less the time its program takes."""
        rng = np.random.default_rng(0)
        X, y = rng.random((600, *work.shape), np.float32), rng.integers(0, 10, 600)
        model = gt.DNNClassifier(epochs=1, hidden_layer_sizes=(128,)).fit(X, y)
        row = X[:1]
        model.predict(row)
        trainer = model._fitted.trainer
        function = next(f for key, (f, _) in trainer._functions.items()
                        if key[0] == "predict" and key[1][0] == 1)
        state = [v.storage for v in function.graph.variables]
        feed = [row.astype(trainer.x_dtype)]

        def calls():
            whole, program = [], []
            for _ in range(work.steps):
                begin = time.perf_counter()
                model.predict(row)
                middle = time.perf_counter()
                function.program.run(list(state), feed)
                whole.append(middle - begin)
                program.append(time.perf_counter() - middle)
            return {"seconds": (np.median(whole) - np.median(program)) * work.steps}

        return calls, {}

    def fresh(self, path: str, epochs: int) -> None:
        """Train from nothing: what a short script does."""
        with np.load(path) as data:
            X, y = data["X"], data["y"]
        trainer_for(LENET, X.shape[1:]).fit(X, y, epochs=epochs, batch_size=32)

    def learner(self, data: dict, variant: str, seed: int, batch: int) -> tuple:
        """What trains the LeNet for one more epoch, and what scores it."""
        trainer = trainer_for(LENET, data["X"].shape[1:], seed=seed)
        epochs = count()
        return (lambda: trainer.fit(data["X"], data["y"], epochs=1,
                                    first_epoch=next(epochs), batch_size=batch),
                lambda: trainer.evaluate(data["X_test"], data["y_test"])["accuracy"])

    def ceilings(self) -> dict:
        """float32 matrix products by gradatim in GFLOP/s, and copies by NumPy in GB/s."""
        best = 0.0
        for size in (1024, 2048):
            a = np.random.default_rng(0).random((size, size), np.float32)
            x, y = gt.placeholder(a.shape), gt.placeholder(a.shape)
            product = gt.function([x, y], x @ y)
            best = max(best, 2 * size ** 3 / least_time(lambda: product(a, a), 15) / 1e9)
        return {"matmul_gflops": best, "copy_gb": self.copy_rate()}

    def copy_rate(self, megabytes: int = 128) -> float:
        """Bytes read and written per second, each thread with arrays beyond its caches."""
        pairs = [(np.zeros(megabytes << 20, "i1"), np.ones(megabytes << 20, "i1"))
                 for _ in range(self.threads)]

        def copy():
            threads = [Thread(target=np.copyto, args=pair) for pair in pairs]
            for t in threads:
                t.start()
            for t in threads:
                t.join()

        return 2 * len(pairs) * (megabytes << 20) / least_time(copy, 5) / 1e9


def repeated(step, times: int):
    """A round of calls, after one that warms up."""
    def calls():
        for _ in range(times):
            step()

    calls()
    return calls


def training_parts(work) -> tuple:
    """A trainer that is ready, the data, and their batches as the training loop makes them."""
    precision = None if work.precision == "float32" else work.precision
    backend = "auto" if work.backend == "cpu" else work.backend
    trainer = trainer_for(work.net, work.shape, precision, backend)
    data = training_data(work)
    trainer.prepare(data.X)
    return trainer, data, [batch_of(data, i, work.batch) for i in range(work.steps)]


def batch_of(data, number: int, size: int) -> Batch:
    """One batch as the training loop hands it over."""
    rows = slice(number * size, (number + 1) * size)
    lengths = None if data.lengths is None else data.lengths[rows]
    return Batch(data.X[rows], data.y[rows], np.ones(size, np.float32), lengths, size)


def least_time(run, repeats: int) -> float:
    """The least of several times, after one for warming up."""
    run()
    found = []
    for _ in range(repeats):
        begin = time.perf_counter()
        run()
        found.append(time.perf_counter() - begin)
    return min(found)
