"""Layers and networks as trees and files: round trips, and refusals of what is not as written."""
import copy
import json

import numpy as np
import pytest

import gradatim as gt
from gradatim import layers
from gradatim.backend.errors import CorruptFileError, Error, ParameterError, UnknownNameError
from gradatim.backend.model_file import read_model, write_model


class Scale(layers.Layer):
    """Multiplies every feature by a learned factor."""
    keeps_time = True

    def __init__(self, start=1.0, name=None):
        super().__init__(name)
        self.start = start

    def build(self, spec):
        self.factor = self.add_weight("factor", spec.shape[-1:], layers.Constant(self.start))

    def call(self, x):
        return x * self.factor


LAYERS = [
    layers.Activation("relu"), layers.ReLU(6.0, 0.1, 0.5), layers.LeakyReLU(0.2),
    layers.ELU(2.0), layers.Softmax(1), layers.PReLU("ones", layers.L2(0.1), [1]),
    layers.Dense(3, "tanh", False, layers.VarianceScaling(2.0, "fan_out", "uniform"),
                 kernel_regularizer=layers.L1L2(0.1, 0.2), name="hidden"),
    layers.Flatten(), layers.Reshape((2, -1)), layers.Permute((2, 1)), layers.RepeatVector(3),
    layers.ZeroPadding1D((1, 2)), layers.ZeroPadding2D(((1, 2), (3, 4))), layers.Cropping1D(2),
    layers.Cropping2D((1, 2)), layers.UpSampling1D(3), layers.UpSampling2D((2, 3)),
    layers.TimeDistributed(layers.Dense(2, name="step")), layers.Concatenate(1), layers.Add(),
    layers.Subtract(), layers.Multiply(), layers.Average(), layers.Maximum(), layers.Minimum(),
    layers.Dot((1, 2), normalize=True), layers.Dropout(0.3), layers.SpatialDropout1D(0.3),
    layers.SpatialDropout2D(0.3), layers.GaussianNoise(0.3),
    layers.RandomFlip("vertical"), layers.RandomTranslation(0.2, 0.1, "constant", 0.5),
    layers.RandomCrop((1, 2), 0.5), layers.RandomRotation(0.2, "nearest"),
    layers.RandomZoom(0.2, 0.3, "nearest"), layers.RandomBrightness(0.1),
    layers.RandomContrast(0.3), layers.IntegerLookup((3, -1), "count"),
    layers.RandomErasing(0.5, 0.3, 0.5), layers.MixUp(0.5), layers.CutMix(0.5),
    layers.Embedding(9, 2, layers.RandomNormal(stddev=0.1), mask_zero=True),
    layers.EmbedColumns((0, 3, 2), (2, 1), "uniform"),
    layers.BatchNormalization(momentum=0.9, scale=False, gamma_regularizer="l2"),
    layers.UnitNormalization(), layers.GaussianDropout(0.3), layers.Rescaling((0.5, 2.0), -1.0),
    layers.Discretization((0.0, 1.0), "count"), layers.CategoryEncoding(4, "one_hot"),
    layers.Masking(-1.0), layers.RMSNormalization(epsilon=0.1),
    layers.Attention(True, "concat", 0.1, True),
    layers.MultiHeadAttention(2, 3, 4, 0.1, False, 5, use_causal_mask=True, name="heads"),
    layers.Conv1D(2, 3, padding="causal", dilation_rate=2), layers.Conv2D(4, (2, 3), groups=2),
    layers.DepthwiseConv1D(3, depthwise_constraint="non_neg"), layers.DepthwiseConv2D((2, 1)),
    layers.SeparableConv1D(2, 3, pointwise_constraint=layers.MaxNorm(3.0)),
    layers.SeparableConv2D(2, 3, depth_multiplier=2), layers.MaxPooling1D(3, 1, "same"),
    layers.MaxPooling2D((2, 3)), layers.AveragePooling1D(4), layers.AveragePooling2D(strides=1),
    layers.GlobalMaxPooling1D(True), layers.GlobalMaxPooling2D(),
    layers.GlobalAveragePooling1D(True), layers.GlobalAveragePooling2D(),
    layers.SimpleRNN(2, None, recurrent_constraint="unit_norm"), layers.GRU(3, reset_after=False),
    layers.LSTM(3, unit_forget_bias=False, go_backwards=True),
    layers.Conv3D(2, (1, 2, 3), (1, 2, 1), "same"), layers.Conv1DTranspose(2, 3, 2),
    layers.Conv2DTranspose(2, (3, 3), 2, "same", 1), layers.Conv3DTranspose(2, 2, dilation_rate=2),
    layers.MaxPooling3D((1, 2, 2)), layers.AveragePooling3D(strides=1), layers.UpSampling3D(2),
    layers.GlobalMaxPooling3D(True), layers.GlobalAveragePooling3D(), layers.Cropping3D(1),
    layers.SpatialDropout3D(0.3), layers.ZeroPadding3D((1, (0, 2), 0)),
    layers.LayerNormalization(epsilon=0.1), layers.GroupNormalization(3, center=False),
    layers.Normalization(mean=np.array([1.0, 2.0]), variance=np.float32(2.0), invert=True),
    layers.Sequential([layers.Dense(3), layers.Sequential([layers.Dense(2)], name="inner")])]
VALUES = [layers.Zeros(), layers.Ones(), layers.Constant(np.arange(3.0)), layers.Identity(2.0),
          layers.RandomNormal(0.1, 0.2), layers.RandomUniform(-1, 2),
          layers.TruncatedNormal(0.1, 0.2), layers.VarianceScaling(), layers.GlorotNormal(),
          layers.GlorotUniform(), layers.HeNormal(), layers.HeUniform(), layers.LecunNormal(),
          layers.LecunUniform(), layers.Orthogonal(0.5), layers.L1(0.5), layers.L2(0.5),
          layers.L1L2(0.5, 0.25)]


@pytest.mark.parametrize("thing", LAYERS + VALUES, ids=repr)
def test_a_tree_is_plain_json_and_makes_the_same_again(thing):
    tree = layers.to_config(thing)
    again = layers.from_config(json.loads(json.dumps(tree)))
    assert type(again) is type(thing)
    assert layers.to_config(again) == tree
    if not isinstance(thing, layers.Layer):
        assert np.array_equal(thing(gt.Spec.of((3, 3)), 1, 2), again(gt.Spec.of((3, 3)), 1, 2)) \
            if isinstance(thing, layers.Initializer) else thing == again


def test_every_public_class_of_these_modules_is_in_the_table_and_tried_here():
    modules = {type(thing).__module__ for thing in LAYERS + VALUES}
    bases = {layers.Layer, layers.Initializer, layers.Regularizer, layers.Model}
    table = {c for c in layers.registry.classes().values() if c.__module__ in modules} - bases
    assert table == {type(thing) for thing in LAYERS + VALUES}


# ---- networks ----------------------------------------------------------------------------------

def chain():
    return layers.Sequential([
        layers.Input((4,)), layers.Normalization(mean=0.5, variance=2.0),
        layers.Dense(8, activation="relu"), layers.BatchNormalization(), layers.Dropout(0.2),
        layers.Dense(3, name="logits")])


def branches():
    x, y = layers.Input((6, 4), name="left"), layers.Input((4,), name="right")
    shared = layers.Dense(5, activation="tanh")
    h = layers.Add()([shared(x), shared(layers.RepeatVector(6)(y))])
    h = gt.concatenate(h * 2.0, gt.relu(h), axis=-1) + np.arange(10, dtype="float32")
    left, right = gt.split(h, sections=2, axis=1)
    tail = layers.Sequential([layers.Flatten(), layers.Dense(2)])
    return layers.Model([x, y], tail(layers.Dropout(0.1)(left - right)), name="branches")


def words():
    return layers.Sequential([
        layers.Input((5,), "int64"), layers.Embedding(9, 4, mask_zero=True),
        layers.TimeDistributed(layers.Dense(3)), layers.LayerNormalization(), layers.Flatten(),
        layers.Dense(2)])


def own():
    return layers.Sequential([layers.Input((4,)), Scale(2.0), layers.Dense(2), Scale()])


NETWORKS = [chain, branches, words, own]
CUSTOM = {"Scale": Scale}


def inputs_of(network, dtype="float32"):
    specs = network.built if isinstance(network.built, list) else [network.built]
    rng = np.random.default_rng(0)
    return [rng.standard_normal((3, *s.shape)).astype(dtype) if s.is_float
            else rng.integers(0, 9, (3, *s.shape)) for s in specs]


def outputs(network, arrays):
    xs = [gt.placeholder(a.shape, a.dtype) for a in arrays]
    return gt.function(xs, network(xs if network.takes_several else xs[0]))(*arrays)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("make", NETWORKS)
def test_a_loaded_network_is_the_saved_one(make, dtype, tmp_path):
    network = make()
    if dtype == "float64" and make is not words:
        outputs_dtype = outputs(network, inputs_of(network, dtype)).dtype
        assert outputs_dtype == "float64"
    network.initialize(3)
    network.save(tmp_path / "network.h5")
    again = layers.load_network(tmp_path / "network.h5", CUSTOM)
    assert {n: (v.shape, v.dtype) for n, v in again.variables().items()} == \
        {n: (v.shape, v.dtype) for n, v in network.variables().items()}
    assert list(again.trainable_variables()) == list(network.trainable_variables())
    for a, b in zip(network.get_weights(), again.get_weights()):
        np.testing.assert_array_equal(a, b)
    arrays = inputs_of(network, dtype if make is not words else "float32")
    np.testing.assert_array_equal(outputs(network, arrays), outputs(again, arrays))
    assert layers.to_config(again) == layers.to_config(network)
    again.save(tmp_path / "again.h5")
    assert (tmp_path / "again.h5").read_bytes() == (tmp_path / "network.h5").read_bytes()


def test_one_layer_can_be_saved_alone(tmp_path):
    layer = layers.Dense(3)
    layer(gt.placeholder((2, 4)))
    layers.save_network(layer, tmp_path / "layer.h5")
    manifest, arrays = read_model(tmp_path / "layer.h5")
    assert list(arrays) == ["dense/bias", "dense/kernel"]
    assert manifest == {
        "kind": "network", "library_version": gt.__version__, "dtype": "float32",
        "input": [{"shape": [4], "dtype": "float32"}],
        "architecture": {"class": "Dense", "settings": {"units": 3}}}
    again = layers.load_network(tmp_path / "layer.h5")
    np.testing.assert_array_equal(again.get_weights()[0], arrays["dense/kernel"])


def test_names_in_files_do_not_depend_on_where_else_a_layer_stands(tmp_path):
    first, second = layers.Dense(4), layers.Dense(2)
    network = layers.Sequential([layers.Input((4,)), first, second])
    layers.Sequential([second])     # renames the second layer's weights
    network.save(tmp_path / "network.h5")
    assert list(read_model(tmp_path / "network.h5")[1]) == [
        "dense/bias", "dense/kernel", "dense_1/bias", "dense_1/kernel"]


def test_summary():
    """Columns are as wide as they need; numbers stand to the right."""
    assert chain().summary() == """\
layer                                       output shape    parameters
normalization (Normalization)               (4,)                     8
dense (Dense)                               (8,)                    40
batch_normalization (BatchNormalization)    (8,)                    32
dropout (Dropout)                           (8,)                     0
logits (Dense)                              (3,)                    27
total 107 parameters, 83 trainable"""


def test_a_summary_leaves_the_network_as_it_is():
    network = layers.Sequential([layers.Dense(3), layers.Dense(2)])
    network(gt.placeholder((2, 4), "float64"))
    before = network.variables()
    assert "(2,)" in network.summary()
    assert all(v is before[name] and v.dtype == "float64"
               for name, v in network.variables().items())


# ---- refusals ----------------------------------------------------------------------------------

def test_what_cannot_be_saved_is_said():
    def mine(x):
        return x
    inner = layers.Dense(2)
    cases = [
        (layers.Dense(2, activation=mine),
         'Dense "activation" cannot be saved: the function has no name in gradatim\n'
         "  got  mine\n"
         '  fix  use a name such as "relu", or make a Layer of it'),
        (layers.Sequential([inner, inner]),
         'Dense "dense_1" stands in two places of the network, which a file cannot keep\n'
         "  fix  call it twice on tensors of one Model instead"),
        (type("Dense", (Scale,), {})(),
         "Dense cannot be saved: gradatim has another class Dense\n"
         "  fix  give your class a name of its own"),
        (Scale(start=1j),
         'Scale "start" cannot be saved: the value has no name in gradatim\n'
         "  got  1j\n"
         '  fix  use a name such as "relu", or make a Layer of it')]
    for thing, text in cases:
        with pytest.raises(ParameterError) as caught:
            layers.to_config(thing)
        assert str(caught.value) == text


def test_a_network_without_weights_cannot_be_saved(tmp_path):
    with pytest.raises(ParameterError, match="has no weights yet"):
        layers.Sequential([layers.Dense(2)]).save(tmp_path / "network.h5")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("tree, kind, first", [
    ({"class": "Danse", "settings": {}}, UnknownNameError, 'there is no layer class "Danse"'),
    ({"class": "Scale", "settings": {}}, UnknownNameError, 'there is no layer class "Scale"'),
    ({"class": "os.system", "settings": {}}, UnknownNameError,
     'there is no layer class "os.system"'),
    ({"class": "Layer.__init__", "settings": {}}, UnknownNameError,
     'there is no layer class "Layer.__init__"'),
    ({"class": "Dense"}, CorruptFileError, "the architecture has an entry that is not as written"),
    ({"class": "Dense", "settings": {}, "module": "x"}, CorruptFileError,
     "the architecture has an entry that is not as written"),
    ({"class": ["Dense"], "settings": {}}, CorruptFileError,
     "the architecture has an entry that is not as written"),
    ({"class": "Dense", "settings": {}}, CorruptFileError,
     'the architecture has a Dense without the setting "units"'),
    ({"class": "Dense", "settings": {"units": 2, "colour": 3}}, CorruptFileError,
     'the architecture has a Dense with an unknown setting "colour"'),
    ({"class": "Dense", "settings": {"units": 2, "self": 3}}, CorruptFileError,
     'the architecture has a Dense with an unknown setting "self"'),
    ({"class": "Dense", "settings": {"units": "2"}}, ParameterError,
     "units must be a whole number from 1 on, not '2'"),
    ({"class": "Dense", "settings": {"units": 2, "activation": "exec"}}, UnknownNameError,
     'there is no activation "exec"'),
    ({"class": "Zeros", "settings": {}, "name": "x"}, CorruptFileError,
     "the architecture has a Zeros with a name"),
    ({"class": "Dense", "settings": {"units": 2}, "name": "../x"}, ParameterError,
     "'../x' cannot be the name of a layer"),
    ({"class": "Sequential", "settings": {"layers": [3]}}, CorruptFileError,
     "the architecture has a network of other things"),
    ({"class": "OpLayer", "settings": {"op": "system"}}, UnknownNameError,
     'there is no op "system"'),
    ({"class": "dict", "settings": {}}, CorruptFileError, "the architecture is no layer"),
    ({"class": "Constant", "settings": {"value": {"class": "array", "settings": {
        "dtype": "object", "shape": [], "values": 1}}}}, CorruptFileError,
     "the architecture has an array that is not as written"),
    ([], CorruptFileError, "the architecture is no layer"),
    (None, CorruptFileError, "the architecture is no layer")])
def test_trees_that_are_not_as_written_are_refused(tree, kind, first):
    with pytest.raises(kind) as caught:
        layers.from_config(tree)
    assert str(caught.value).splitlines()[0] == first


def test_an_unknown_class_says_how_to_give_it():
    with pytest.raises(UnknownNameError, match=r'custom=\{"Scale": ...\}'):
        layers.from_config({"class": "Scale", "settings": {}})
    assert isinstance(layers.from_config({"class": "Scale", "settings": {}}, CUSTOM), Scale)
    for custom, text in [({"Dense": Scale}, 'custom["Dense"] is the name of a class of gradatim'),
                         ({"x": print}, 'custom["x"] is not a class of layers, initializers or '
                                        "regularizers")]:
        with pytest.raises(ParameterError) as caught:
            layers.from_config({"class": "Scale", "settings": {}}, custom)
        assert str(caught.value).splitlines()[0] == text


def test_deep_trees_are_refused():
    tree = {"class": "Dense", "settings": {"units": 1}}
    for _ in range(100):
        tree = {"class": "Sequential", "settings": {"layers": [tree]}}
    with pytest.raises(CorruptFileError, match="nested too deeply"):
        layers.from_config(tree)


JUNK = [None, True, -1, 1e30, "Dense", "", [], [[0]], {}, {"class": "Dense", "settings": {}},
        {"class": "Add", "settings": {}}, {"class": "dict", "settings": {}}]


def places(tree, path=()):
    """Every place in a tree."""
    yield path
    for key, branch in (tree.items() if isinstance(tree, dict) else enumerate(tree)
                        if isinstance(tree, list) else ()):
        yield from places(branch, (*path, key))


@pytest.mark.parametrize("make", [chain, branches, words])
def test_junk_anywhere_in_a_manifest_is_refused_or_makes_a_network(make):
    manifest, arrays = layers.network_to_manifest(make())
    for number, path in enumerate(places(manifest)):
        for junk in (JUNK + JUNK)[number % len(JUNK):][:4]:     # all of it, place by place
            changed = copy.deepcopy({"top": manifest})
            branch = changed
            for key in ("top", *path)[:-1]:
                branch = branch[key]
            branch[("top", *path)[-1]] = junk
            try:
                network = layers.network_from_manifest(changed["top"], arrays)
            except Error:
                continue
            assert isinstance(network, layers.Layer), (path, junk)


@pytest.mark.parametrize("break_wires", [
    lambda m: m["wires"].append([99, [0]]), lambda m: m["wires"].append([0, [99]]),
    lambda m: m["wires"].append([0, [-1]]), lambda m: m["wires"].append([0, []]),
    lambda m: m["wires"].append([0, [True]]), lambda m: m["wires"].append(0),
    lambda m: m.update(output=99), lambda m: m.update(output="0"), lambda m: m.pop("several"),
    lambda m: m.update(several=False), lambda m: m["inputs"][0].update(shape=[-1]),
    lambda m: m["inputs"][0].update(dtype="object"), lambda m: m["inputs"].clear(),
    lambda m: m.update(layers=None)])
def test_models_with_broken_wires_are_refused(break_wires):
    tree = layers.to_config(branches())
    break_wires(tree["settings"])
    with pytest.raises(Error):
        layers.from_config(tree)


@pytest.mark.parametrize("change, text", [
    (lambda m, a: a.pop("dense/bias"),
     "the weights are not those of the network\n  got  missing: dense/bias"),
    (lambda m, a: a.update(more=np.zeros(2)),
     "the weights are not those of the network\n  got  not its own: more"),
    (lambda m, a: a.update({"dense/bias": np.zeros(3, "float32")}),
     'the weight "dense/bias" does not fit the network\n  got  float32[3], not float32[8]'),
    (lambda m, a: a.update({"dense/bias": np.zeros(8)}),
     'the weight "dense/bias" does not fit the network\n  got  float64[8], not float32[8]'),
    (lambda m, a: m.update(input=[]), "the architecture has no input\n  got  []\n"
     "  fix  save the model again with this version of gradatim"),
    (lambda m, a: m.update(input=m["input"] * 2), None), (lambda m, a: m.pop("dtype"), None),
    (lambda m, a: m.pop("architecture"), None),
    (lambda m, a: m["input"][0].update(dtype="x"), None)])
def test_weights_must_be_exactly_the_networks(change, text):
    manifest, arrays = layers.network_to_manifest(chain())
    manifest = copy.deepcopy(manifest)
    change(manifest, arrays)
    with pytest.raises(CorruptFileError) as caught:
        layers.network_from_manifest(manifest, arrays)
    assert text is None or str(caught.value) == text


def test_other_files_are_refused(tmp_path):
    write_model(tmp_path / "other.h5", {"kind": "estimator"}, {})
    with pytest.raises(CorruptFileError, match="does not hold a network"):
        layers.load_network(tmp_path / "other.h5")
