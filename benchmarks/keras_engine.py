"""Keras's side of the benchmark: `compile` and `fit`, on the engine that is asked for."""
from __future__ import annotations

import os

import numpy as np

from benchmarks.workloads import LENET, training_data


class Engine:
    """Prepares rounds; of its variants the fastest counts."""

    def __init__(self, setting: str, threads: int):
        os.environ["KERAS_BACKEND"] = setting
        os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
        if setting == "tensorflow":
            import tensorflow
            tensorflow.config.threading.set_intra_op_parallelism_threads(threads)
            tensorflow.config.threading.set_inter_op_parallelism_threads(threads)
        elif setting == "torch":
            import torch
            torch.set_num_threads(threads)
        import keras
        self.keras = keras
        keras.utils.set_random_seed(0)
        self.version = f"Keras {keras.__version__}"
        self.variants = ["", "no_jit"] if setting == "tensorflow" else [""]

    def build(self, net: list, shape, variant: str = ""):
        """The net as a compiled model."""
        layers = self.keras.layers

        def norm(x, filters, size, strides=1):
            x = layers.Conv2D(filters, size, strides, padding="same", use_bias=False)(x)
            return layers.BatchNormalization()(x)

        def residual(x, filters, strides):
            h = norm(layers.ReLU()(norm(x, filters, 3, strides)), filters, 3)
            return layers.ReLU()(layers.Add()([h, norm(x, filters, 1, strides)
                                               if strides > 1 else x]))

        words = {
            "dense": lambda x, units, name: layers.Dense(units, activation=name)(x),
            "conv": lambda x, n: layers.Conv2D(n, 3, padding="same", activation="relu")(x),
            "pool": lambda x: layers.MaxPooling2D(2)(x),
            "flatten": lambda x: layers.Flatten()(x),
            "average": lambda x: layers.GlobalAveragePooling2D()(x),
            "embedding": lambda x, many, width: layers.Embedding(many, width)(x),
            "lstm": lambda x, units: layers.LSTM(units, return_sequences=True)(x),
            "conv_norm": lambda x, filters: layers.ReLU()(norm(x, filters, 3)),
            "residual": residual}
        x = start = self.keras.Input(shape, dtype="int64" if net[0][0] == "embedding" else None)
        for word, *settings in net:
            x = words[word](x, *settings)
        model = self.keras.Model(start, x)
        loss = self.keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        model.compile(self.keras.optimizers.Adam(1e-3), loss, weighted_metrics=["accuracy"],
                      jit_compile=False if variant == "no_jit" else "auto")
        return model

    def prepare(self, work, variant: str):
        """What runs one round, and what is known beforehand; None where it does not apply."""
        if work.kind != "train":
            return None, {"not_here": True}
        data, model = training_data(work), self.build(work.net, work.shape, variant)
        weights = data.mask.astype("float32") if work.lengths else None

        def fit():
            run = model.fit(data.X, data.y, sample_weight=weights, batch_size=work.batch,
                            epochs=1, shuffle=False, verbose=0)
            return {"loss": float(run.history["loss"][-1])}

        fit()
        return fit, {}

    def learner(self, data: dict, variant: str, seed: int, batch: int) -> tuple:
        """What trains the LeNet for one more epoch, and what scores it."""
        self.keras.utils.set_random_seed(seed)
        model = self.build(LENET, data["X"].shape[1:], variant)
        return (lambda: model.fit(data["X"], data["y"], batch_size=batch, verbose=0),
                lambda: model.evaluate(data["X_test"], data["y_test"], 1000, verbose=0)[1])

    def fresh(self, path: str, epochs: int) -> None:
        """Train from nothing: what a short script does."""
        with np.load(path) as data:
            X, y = data["X"], data["y"]
        self.build(LENET, X.shape[1:]).fit(X, y, batch_size=32, epochs=epochs, verbose=0)
