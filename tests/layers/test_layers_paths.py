"""Paths of weights, shared and frozen layers, arguments that are arrays, and lengths past ops."""
import numpy as np
import pytest

import gradatim as gt
from gradatim import layers
from gradatim.backend.distribute import DataParallel, replicate
from gradatim.backend.errors import CorruptFileError, ShapeError
from gradatim.layers.flow import Flow


# ---- one layer in several networks -------------------------------------------------------------

def test_paths_are_those_of_the_network_that_is_asked():
    first, second = layers.Dense(4), layers.Dense(4)
    one = layers.Sequential([layers.Input((4,)), first, second])
    two = layers.Sequential([layers.Input((4,)), second])
    assert list(one.variables()) == ["dense/kernel", "dense/bias", "dense_1/kernel",
                                     "dense_1/bias"]
    assert list(two.variables()) == ["dense/kernel", "dense/bias"]
    assert one.variables()["dense_1/kernel"] is two.variables()["dense/kernel"]
    outer = layers.Sequential([layers.Input((4,)), two, layers.Dense(2)])
    assert list(outer.variables())[:1] == ["sequential/dense/kernel"]
    assert list(two.variables())[:1] == ["dense/kernel"]


def test_first_values_are_those_of_a_network_of_its_own():
    make = lambda: [layers.Dense(4), layers.Dense(4)]
    alone = layers.Sequential([layers.Input((4,)), *make()])
    alone.initialize(7)
    first, second = make()
    shared = layers.Sequential([layers.Input((4,)), first, second])
    layers.Sequential([layers.Input((4,)), second])
    shared.initialize(7)
    for a, b in zip(alone.get_weights(), shared.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    kernels = shared.variables()
    assert not np.array_equal(kernels["dense/kernel"].numpy(), kernels["dense_1/kernel"].numpy())


def test_first_values_drawn_by_running_are_distinct_too():
    first, second = layers.Dense(4), layers.Dense(4)
    shared = layers.Sequential([layers.Input((4,)), first, second])
    layers.Sequential([layers.Input((4,)), second])
    gt.run(shared(gt.constant(np.ones((2, 4), "float32"))))
    assert not np.array_equal(first.kernel.numpy(), second.kernel.numpy())


def test_a_layer_of_another_network_does_not_share_a_new_layers_name():
    old, new = layers.Dense(4), layers.Dense(4)
    layers.Sequential([old])
    network = layers.Sequential([new, old])
    gt.run(network(gt.constant(np.ones((2, 4), "float32"))))
    assert not np.array_equal(old.kernel.numpy(), new.kernel.numpy())
    old, new = layers.Dropout(0.5), layers.Dropout(0.5)
    layers.Sequential([old])
    network = layers.Sequential([new, old])
    y, _ = network(gt.constant(np.ones((5, 400), "float32")), training=True)
    assert 0.2 < (gt.run(y) != 0).mean() < 0.3


def test_random_streams_are_those_of_the_network_that_runs():
    first, second = layers.Dropout(0.5), layers.Dropout(0.5)
    shared = layers.Sequential([layers.Input((400,)), first, second])
    layers.Sequential([layers.Input((400,)), second])
    y, _ = shared(gt.constant(np.ones((5, 400), "float32")), training=True)
    assert 0.2 < (gt.run(y) != 0).mean() < 0.3       # equal masks would keep a half


def test_a_layer_at_two_places_has_its_weights_once():
    twin = layers.Dense(4, kernel_regularizer="l2")
    network = layers.Sequential([layers.Input((4,)), twin, twin])
    assert list(network.variables()) == ["dense/kernel", "dense/bias"]
    assert len(network.all_penalties()) == 1


# ---- frozen layers -----------------------------------------------------------------------------

def net():
    inner = layers.Sequential([layers.Dense(3), layers.BatchNormalization()], name="inner")
    return layers.Sequential([layers.Input((4,)), inner,
                              layers.Dense(2, kernel_regularizer="l2")])


def test_a_frozen_layer_is_left_out_and_comes_back():
    network = net()
    everything = list(network.trainable_variables())
    assert network.trainable and repr(network.trainable) == "True"
    network.layers[0].trainable = False
    assert network.trainable and not network.layers[0].trainable
    assert not network.layers[0].layers[1].trainable      # and all in it
    assert list(network.trainable_variables()) == ["dense/kernel", "dense/bias"]
    assert len(network.all_penalties()) == 1
    network.layers[1].trainable = False
    assert list(network.trainable_variables()) == [] == network.all_penalties()
    network.trainable = True
    assert list(network.trainable_variables()) == everything
    network.trainable = False
    network.layers[1].trainable = True                    # as in Keras, the outer one decides
    assert list(network.trainable_variables()) == []


def test_frozen_batch_normalization_keeps_and_uses_its_moving_statistics():
    layer = layers.BatchNormalization()
    layer.trainable = False
    x = gt.constant(np.random.default_rng(0).normal(3.0, 2.0, (8, 4)).astype("float32"))
    y, updates = layer(x, training=True)
    assert updates == {}
    np.testing.assert_array_equal(gt.run(y), gt.run(layer(x)))


def test_frozen_layers_stay_frozen_in_files():
    network = net()
    assert "trainable" not in str(layers.to_config(network))
    network.layers[0].layers[1].trainable = False
    tree = layers.to_config(network)
    inner = tree["settings"]["layers"][0]["settings"]["layers"]
    assert "trainable" not in inner[0] and inner[1]["trainable"] is False
    again = layers.from_config(tree)
    assert layers.to_config(again) == tree
    again(gt.placeholder((2, 4)))
    assert list(again.trainable_variables()) == list(network.trainable_variables())


@pytest.mark.parametrize("layer", [
    layers.Bidirectional(layers.GRU(2)), layers.TimeDistributed(layers.Dense(2))], ids=repr)
def test_wrappers_freeze_what_they_hold_in_copies_too(layer):
    layer.trainable = False
    again = layers.from_config(layers.to_config(layer))
    again(gt.placeholder((2, 3, 4)))
    assert again.variables() and not again.trainable_variables()
    assert not any(child.trainable for child in again.children.values())


def test_a_frozen_network_around_a_layer_that_is_not_comes_back_so():
    network = net()
    network.trainable = False
    network.layers[1].trainable = True
    tree = layers.to_config(network)
    assert layers.to_config(layers.from_config(tree)) == tree


def test_both_directions_of_a_frozen_layer_are_frozen():
    layer = layers.GRU(2)
    layer.trainable = False
    both = layers.Bidirectional(layer)
    both(gt.placeholder((2, 3, 4)))
    assert both.trainable and not both.trainable_variables()


@pytest.mark.parametrize("tree", [
    {"class": "Dense", "settings": {"units": 2}, "trainable": True},
    {"class": "Dense", "settings": {"units": 2}, "trainable": 0},
    {"class": "Zeros", "settings": {}, "trainable": False}])
def test_other_values_in_files_are_refused(tree):
    with pytest.raises(CorruptFileError):
        layers.from_config(tree)


# ---- arguments ---------------------------------------------------------------------------------

class Offset(layers.Layer):
    """Adds fixed numbers."""

    def __init__(self, offset=np.zeros(2), name=None):
        super().__init__(name)
        self.offset = offset

    def call(self, x):
        return x + self.offset


def test_arguments_may_be_arrays():
    assert Offset(np.zeros(2)).config() == {}
    assert list(Offset(np.ones(2)).config()) == ["offset"]
    assert repr(Offset(np.ones(2))) == "Offset(offset=array([1., 1.]))"
    assert layers.Constant([np.ones(2)]) == layers.Constant([np.ones(2)])
    assert layers.Constant([np.ones(2)]) != layers.Constant([np.zeros(2)])


def test_a_model_is_printed_readably():
    x = layers.Input((4,))
    model = layers.Model(x, layers.Dense(2)(gt.relu(x)))
    assert repr(model) == ("Model(inputs=[float32[4]], layers=[OpLayer(op='relu', settings={}, "
                           "literals={}), Dense(units=2)])")


# ---- ranks and lengths -------------------------------------------------------------------------

@pytest.mark.parametrize("layer", [
    layers.Dense(4), layers.BatchNormalization(), layers.LayerNormalization(),
    layers.GroupNormalization(2), layers.Normalization()], ids=repr)
def test_one_layer_takes_vectors_and_sequences(layer):
    x = np.random.default_rng(0).standard_normal((2, 4)).astype("float32")
    sequence = gt.run(layer(gt.constant(np.repeat(x[:, None], 3, axis=1))))
    vector = gt.run(layer(gt.constant(x)))
    if not isinstance(layer, layers.GroupNormalization):
        np.testing.assert_allclose(sequence[:, 1], vector, rtol=1e-6)
    assert sequence.shape == (2, 3, 4) and vector.shape == (2, 4)
    with pytest.raises(ShapeError, match="another shape than it was built for"):
        layer(gt.placeholder((2, 6)))


def test_other_layers_keep_their_number_of_axes():
    class Scale(layers.Layer):
        def build(self, spec):
            self.factor = self.add_weight("factor", spec.shape[-1:])

        def call(self, x):
            return x * self.factor
    layer = Scale()
    layer(gt.placeholder((2, 3, 4)))
    with pytest.raises(ShapeError, match="another shape than it was built for"):
        layer(gt.placeholder((2, 4)))


@pytest.mark.parametrize("use, kept", [
    (lambda x: gt.relu(x) * 2.0, True), (lambda x: x + gt.constant(np.ones((1, 3, 1), "f")), True),
    (lambda x: gt.cast(x, dtype="float64"), True), (lambda x: x.sum(axis=2), False),
    (lambda x: gt.transpose(x, axes=(0, 2, 1)), False), (lambda x: gt.flip(x, axis=1), False)])
def test_lengths_pass_elementwise_ops_only(use, kept):
    x = layers.Input((3, 4))
    model = layers.Model(x, use(x))
    lengths = gt.placeholder((5,), "int64")
    out = model.run(Flow(gt.placeholder((5, 3, 4)), lengths), training=False)
    assert out.lengths is (lengths if kept else None)


# ---- statistics of a replica's own rows --------------------------------------------------------

def test_own_statistics_are_plain_sums():
    layer = layers.BatchNormalization(synchronized=False)
    y, updates = layer(gt.placeholder((4, 3)), training=True)
    ops = [n.op.name for n in replicate(gt.graph(y), rank=1).steps]
    assert "all_reduce" not in ops and "batch_sum" not in ops
    ops = [n.op.name for n in replicate(gt.graph(*updates.values()), rank=1).steps]
    assert "all_reduce" in ops        # what is kept must be the same for all


@pytest.mark.parametrize("ragged", [False, True])
def test_own_statistics_on_one_device_are_the_batches(ragged):
    rng = np.random.default_rng(0)
    x, weights = rng.standard_normal((4, 3, 2)), np.array([1.0, 0.5, 0.0, 2.0])
    results = []
    for synchronized in (True, False):
        layer = layers.BatchNormalization(synchronized=synchronized)
        inputs = [gt.placeholder(x.shape, "float64"), gt.placeholder((4,), "float64"),
                  gt.placeholder((4,), "int64")]
        flow = Flow(inputs[0], inputs[2] if ragged else None, inputs[1], dtype="float64")
        out = layer.run(flow, training=True)
        run = gt.function(inputs, [out.x, *out.updates.values()])
        results.append(run(x, weights, np.array([3, 1, 2, 0])))
    for a, b in zip(*results, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-12)


def test_replicas_normalise_by_their_own_rows_and_agree_on_what_is_kept():
    x = np.random.default_rng(0).standard_normal((8, 3))
    layer = layers.BatchNormalization(synchronized=False, momentum=0.0, epsilon=0.0)
    rows = gt.placeholder((4, 3), "float64")
    y, updates = layer(rows, training=True)
    step = DataParallel(2).function([rows], [y], updates, gt.get_backend("reference"))
    (got,) = step(x)
    halves = [x[:4], x[4:]]
    want = np.concatenate([(h - h.mean(0)) / h.std(0) for h in halves])
    np.testing.assert_allclose(got, want, rtol=1e-10)
    np.testing.assert_allclose(layer.moving_mean.numpy(), x.mean(0), rtol=1e-10)
    np.testing.assert_allclose(layer.moving_variance.numpy(),
                               np.mean([h.var(0) for h in halves], axis=0), rtol=1e-10)
