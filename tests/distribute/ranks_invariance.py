"""Training on virtual shards; prints digests of what was learned, equal for any number of ranks."""
import hashlib

import numpy as np

import gradatim as gt
from gradatim import layers
from gradatim.backend.distribute import launched, world

RNG = np.random.default_rng(0)
NETS = {
    "dense": (lambda: [layers.Dense(12, activation="relu"), layers.BatchNormalization()],
              RNG.standard_normal((75, 6))),
    "convolutional": (lambda: [layers.Conv2D(4, 3), layers.BatchNormalization(),
                               layers.Activation("relu"), layers.MaxPooling2D(2), layers.Flatten()],
                      RNG.standard_normal((75, 8, 8, 1))),
    "recurrent": (lambda: [layers.LSTM(6)], RNG.standard_normal((75, 5, 3))),
}
LABELS = RNG.integers(0, 5, 75)


def digest(name, **settings):
    """What a fit with an odd last batch, weights and validation leads to, to the last bit."""
    net, X = NETS[name]
    head = [layers.Dropout(0.3), layers.Dense(5, activation="softmax")]
    trainer = gt.Trainer(gt.Sequential([*net(), *head]), "sparse_categorical_crossentropy", seed=3,
                         metrics=["accuracy"],
                         strategy=gt.DataParallel(deterministic=True, **settings))
    trainer.fit(X.astype("f"), LABELS, 1.0 + LABELS, epochs=2, batch_size=30, X_val=X[:20],
                y_val=LABELS[:20])
    bits = [v.numpy().tobytes() for v in trainer.variables().values()]
    return hashlib.sha256(b"".join(bits) + repr(trainer.history).encode()).hexdigest()


if __name__ == "__main__":
    for case in NETS:
        found = digest(case)
        if not launched() or world().rank == 0:
            print(case, found)
