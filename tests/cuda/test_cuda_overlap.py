"""Collectives of GPUs run beside the rest of a step: buckets, order of launches, events, bits."""
import sys

import numpy as np
import pytest

import gradatim as gt
from gradatim import layers
from gradatim.backend.cuda import CudaBackend
from gradatim.backend.cuda.cpu_calls import copy
from gradatim.backend.cuda.cuda_device import CudaDevice
from gradatim.backend.distribute.communicator import Communicator
from gradatim.backend.distribute.replicate import replicate
from gradatim.backend.function import Function
from gradatim.backend.graph import Graph
from gradatim.backend.passes import REPLICATED

SIZES = (40, 30, 20, 3)
RNG = np.random.default_rng(5)
X, Y = RNG.standard_normal((8, 16)).astype("f"), np.arange(8) % 3


class Beside(Communicator):
    """A rank alone with a GPU, whose library copies; the fake device runs it late."""
    rank, size = 0, 1

    def __init__(self, fake):
        self.fake, self.sizes = fake, []

    def queues(self, node):
        return node.op.name == "all_reduce"

    def queue(self, node, source, target, stream):
        assert stream.ptr == self.fake.AHEAD                  # not the one of the launches
        self.sizes.append(node.specs[0].size)
        nbytes = node.specs[0].nbytes
        self.fake.beside("all_reduce", lambda: copy(target, source, nbytes=nbytes))

    def _missing(self, *arguments, **more):
        raise AssertionError("the host was asked")

    all_reduce = all_gather = broadcast_from = swap = share = gather = barrier = abort = _missing


@pytest.fixture
def small_buckets(monkeypatch):
    """Buckets of the size of this file's layers."""
    monkeypatch.setattr(sys.modules["gradatim.backend.passes.buckets"], "LARGE", 800)


def step_of(backend, communicator=None):
    """A step of SGD as a function of rows and labels, and its weights."""
    net = gt.Sequential([layers.Dense(n, "relu") for n in SIZES[:-1]] + [layers.Dense(SIZES[-1])])
    x, y = gt.placeholder(X.shape, name="x"), gt.placeholder(Y.shape, "int64", name="y")
    loss = gt.batch_sum(gt.softmax_cross_entropy(net(x), y)) / 8.0
    weights = list(net.variables().values())
    for v in weights:
        v.initialize(3)
    updates = {w: w - 0.3 * g for w, g in zip(weights, gt.gradients(loss, weights))}
    graph = Graph([loss], updates, [x, y])
    if communicator is None:
        return Function(graph, backend), weights
    return Function(replicate(graph, 0), backend, REPLICATED, communicator=communicator), weights


def test_what_is_known_first_travels_first_while_the_rest_is_computed(install, small_buckets):
    communicator = Beside(install())
    step, _ = step_of(CudaBackend(CudaDevice()), communicator)
    names = [s.name for s in step.program.steps]
    sums = [i for i, name in enumerate(names) if name == "all_reduce"]
    products = [i for i, name in enumerate(names) if name == "matmul"]
    assert len(sums) == 3 and names.count("join") == 1
    # The gradient of the first layer's kernel is the last product.
    assert sum(i < products[-1] for i in sums) >= 1
    join = names.index("join")
    assert max(sums) < join < names.index("chain_multiply_subtract")
    step(X, Y)
    # The second kernel, alone; the loss, the layers behind it and its bias; the first layer.
    assert communicator.sizes == [1200, 1 + 60 + 3 + 600 + 20 + 30, 640 + 40]
    # Each bucket is filled by one launch, and the optimizer is one, in the weights' own memory.
    assert [names.count(n) for n in ("chain_copy", "copy", "chain_multiply_subtract")] == [2, 0, 1]
    assert names.count("softmax_cross_entropy") == 1


def test_late_sums_change_no_bit(install, small_buckets):
    """Sums that come as late as they may find their numbers, and nobody reads them before."""
    found = {}
    for name in ("one by one", "recorded", "alone"):
        fake = install()
        fake.cannot_capture = name == "one by one"
        backend = CudaBackend(CudaDevice())
        step, weights = step_of(backend, None if name == "alone" else Beside(fake))
        losses = [float(step(X, Y)[0]) for _ in range(5)]
        found[name] = losses, [w.numpy().tobytes() for w in weights]
        assert losses[-1] < losses[0]
        assert (name == "one by one") == ("graph" not in fake.log)
    assert found["one by one"] == found["recorded"] == found["alone"]


def test_a_graph_ends_with_what_is_beside_it(install, small_buckets):
    """A product that is left to CuPy stands between a sum and who waits for it."""
    fake = install()
    fake.library.fake_refuse(1)
    try:
        step, weights = step_of(CudaBackend(CudaDevice()), Beside(fake))
        losses = [float(step(X, Y)[0]) for _ in range(4)]
    finally:
        fake.library.fake_refuse(0)
    same, _ = step_of("reference")
    np.testing.assert_allclose(losses, [float(same(X, Y)[0]) for _ in range(4)], rtol=1e-5)
