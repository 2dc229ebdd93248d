"""Training on the CUDA stand-in, alone or on ranks: writes weights, prints digests of shards."""
import hashlib
import sys

import numpy as np

import gradatim as gt
from gradatim import layers
from gradatim.backend.distribute import launched, world

RNG = np.random.default_rng(11)
LABELS = RNG.integers(0, 3, 20)
NETS = {
    "dense": (lambda: [layers.Dense(8, activation="tanh"), layers.Dropout(0.2)],
              RNG.standard_normal((20, 6)).astype("f"), {}),
    "accumulated": (lambda: [layers.Dense(8, activation="tanh")],
                    RNG.standard_normal((20, 6)).astype("f"), {"accumulate": 2}),
    "convolutional": (lambda: [layers.Conv2D(3, 3), layers.BatchNormalization(),
                               layers.Activation("relu"), layers.MaxPooling2D(2),
                               layers.Flatten()],
                      RNG.standard_normal((20, 6, 6, 2)).astype("f"), {}),
}


def trained(case, strategy="auto", backend="cuda"):
    """Weights after two epochs, the last batch of which is short."""
    net, X, settings = NETS[case]
    trainer = gt.Trainer(gt.Sequential([*net(), layers.Dense(3)]),
                         layers.SparseCategoricalCrossentropy(from_logits=True), "sgd", seed=5,
                         strategy=strategy, backend=backend, **settings)
    trainer.fit(X, LABELS, epochs=2, batch_size=8)
    return {name: v.numpy() for name, v in trainer.variables().items()}


if __name__ == "__main__":
    first = not launched() or world().rank == 0
    for case in NETS:
        found = trained(case)
        if launched() > 1:
            bits = world().gather([a.tobytes() for a in found.values()])
            assert all(other == bits[0] for other in bits), f"{case}: the ranks differ"
        if first:
            np.savez(f"{sys.argv[1]}-{case}.npz", **found)
    shards = trained("dense", gt.DataParallel(deterministic=True, virtual_shards=4))
    if first:
        print(hashlib.sha256(b"".join(a.tobytes() for a in shards.values())).hexdigest())
