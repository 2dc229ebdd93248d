"""Every layer passes check_layer, and check_layer finds what is wrong with wrong layers."""
import shutil

import numpy as np
import pytest

import gradatim as gt
from gradatim import layers
from gradatim.backend import available
from gradatim.layers import Flow, from_config, to_config
from gradatim.layers.registry import classes
from gradatim.testing import check_layer

ids = gt.Spec.of((5,), "int64")


def two_branches():
    """A network with a branch around a layer."""
    x = gt.Input((4,))
    return gt.Model(x, layers.Add()([x, layers.Dense(4, activation="tanh")(x)]))


# Layer and input without the batch axis.
TABLE = [
    (layers.Activation("tanh"), (4,)),
    (layers.ReLU(negative_slope=0.1), (4,)),
    (layers.LeakyReLU(), (3, 4)),
    (layers.ELU(), (4,)),
    (layers.Softmax(), (3, 4)),
    (layers.Softmax(axis=1), (3, 4)),
    (layers.Softmax(axis=-2), (3, 4)),
    (layers.PReLU(), (4,)),
    (layers.PReLU(shared_axes=[1]), (3, 4)),
    (layers.Dense(3, activation="relu"), (4,)),
    (layers.Dense(3, use_bias=False), (3, 4)),
    (layers.Dropout(0.4), (3, 4)),
    (layers.SpatialDropout1D(0.4), (3, 4)),
    (layers.SpatialDropout2D(0.4), (2, 3, 4)),
    (layers.GaussianNoise(0.5), (4,)),
    (layers.RandomFlip("horizontal_and_vertical"), (4, 5, 2)),
    (layers.RandomTranslation(0.5, 0.5, "nearest"), (4, 5, 2)),
    (layers.RandomCrop(1), (4, 5, 2)),
    (layers.RandomRotation(0.1), (4, 5, 2)),
    (layers.RandomZoom(0.2, 0.3), (4, 5, 2)),
    (layers.RandomBrightness(), (4, 5, 2)),
    (layers.RandomContrast(), (4, 5, 2)),
    (layers.RandomErasing(), (4, 5, 2)),
    (layers.MixUp(), (4, 5, 2)),
    (layers.CutMix(), (4, 5, 2)),
    (layers.Embedding(3, 4), ids),
    (layers.Embedding(3, 4, mask_zero=True), ids),
    (layers.EmbedColumns((0, 3, 0, 2)), (4,)),
    (layers.EmbedColumns((2, 3), output_dims=(4, 1)), (2,)),
    (layers.Add(), [(3, 4), (3, 4)]),
    (layers.Subtract(), [(4,), (4,)]),
    (layers.Multiply(), [(4,), (4,), (4,)]),
    (layers.Average(), [(4,), (4,)]),
    (layers.Maximum(), [(4,), (4,)]),
    (layers.Minimum(), [(4,), (4,)]),
    (layers.Concatenate(), [(3, 4), (3, 2)]),
    (layers.Concatenate(axis=1), [(3, 4), (2, 4)]),
    (layers.Dot(axes=1), [(4,), (4,)]),
    (layers.BatchNormalization(), (4,)),
    (layers.BatchNormalization(momentum=0.9, scale=False), (3, 4)),
    (layers.BatchNormalization(), (2, 3, 4)),
    (layers.BatchNormalization(synchronized=False), (3, 4)),
    (layers.LayerNormalization(), (3, 4)),
    (layers.GroupNormalization(2), (2, 3, 4)),
    (layers.GroupNormalization(2), (3, 4)),
    (layers.Normalization(), (4,)),
    (layers.Normalization(mean=1.0, variance=2.0, invert=True), (4,)),
    (layers.Flatten(), (2, 3, 4)),
    (layers.Reshape((4, -1)), (2, 6)),
    (layers.Permute((2, 1)), (3, 4)),
    (layers.RepeatVector(3), (4,)),
    (layers.ZeroPadding1D((1, 2)), (3, 4)),
    (layers.ZeroPadding2D(1), (2, 3, 4)),
    (layers.Cropping1D(1), (4, 3)),
    (layers.Cropping2D(1), (4, 3, 2)),
    (layers.UpSampling1D(2), (3, 4)),
    (layers.UpSampling2D(2), (2, 3, 4)),
    (layers.TimeDistributed(layers.Dense(3)), (3, 4)),
    (layers.TimeDistributed(layers.BatchNormalization()), (3, 4)),
    (layers.Conv1D(3, 2, activation="relu"), (5, 4)),
    (layers.Conv1D(3, 3, padding="same", strides=2), (5, 4)),
    (layers.Conv1D(4, 2, padding="causal", dilation_rate=2, groups=2), (5, 4)),
    (layers.Conv2D(3, (2, 3), padding="same"), (4, 5, 2)),
    (layers.Conv2D(4, 3, strides=2, groups=2, use_bias=False), (5, 5, 2)),
    (layers.DepthwiseConv1D(2, depth_multiplier=2), (5, 3)),
    (layers.DepthwiseConv1D(3, padding="causal"), (5, 3)),
    (layers.DepthwiseConv2D(3, padding="same", activation="tanh"), (4, 5, 2)),
    (layers.SeparableConv1D(4, 2, depth_multiplier=2), (5, 3)),
    (layers.SeparableConv1D(4, 2, padding="causal"), (5, 3)),
    (layers.SeparableConv2D(4, 3, strides=2, padding="same"), (5, 4, 2)),
    (layers.MaxPooling1D(), (5, 3)),
    (layers.MaxPooling2D((2, 3), strides=1, padding="same"), (4, 5, 2)),
    (layers.AveragePooling1D(3, strides=1), (5, 3)),
    (layers.AveragePooling2D(padding="same"), (4, 5, 2)),
    (layers.GlobalAveragePooling1D(), (5, 3)),
    (layers.GlobalAveragePooling1D(keepdims=True), (5, 3)),
    (layers.GlobalAveragePooling2D(), (3, 4, 2)),
    (layers.GlobalMaxPooling1D(), (5, 3)),
    (layers.GlobalMaxPooling2D(keepdims=True), (3, 4, 2)),
    (layers.Conv3D(3, (2, 2, 1), padding="same", activation="relu"), (3, 4, 3, 2)),
    (layers.Conv3D(4, 2, strides=2, groups=2, use_bias=False), (4, 4, 4, 2)),
    (layers.Conv1DTranspose(3, 3, strides=2), (4, 2)),
    (layers.Conv2DTranspose(3, (3, 2), strides=2, padding="same", activation="relu"), (3, 2, 2)),
    (layers.Conv2DTranspose(2, 3, strides=2, output_padding=0, padding="same"), (3, 2, 2)),
    (layers.Conv2DTranspose(2, 3, dilation_rate=2, use_bias=False), (3, 2, 2)),
    (layers.Conv3DTranspose(2, 2, strides=2), (2, 3, 2, 2)),
    (layers.MaxPooling3D(), (4, 4, 5, 2)),
    (layers.MaxPooling3D((2, 3, 2), strides=1, padding="same"), (3, 4, 3, 2)),
    (layers.AveragePooling3D(padding="same"), (3, 3, 5, 2)),
    (layers.GlobalAveragePooling3D(), (2, 3, 2, 2)),
    (layers.GlobalMaxPooling3D(keepdims=True), (2, 3, 2, 2)),
    (layers.SpatialDropout3D(0.4), (2, 3, 2, 2)),
    (layers.ZeroPadding3D((1, 0, (0, 2))), (2, 3, 2, 2)),
    (layers.Cropping3D((0, 1, (0, 1))), (2, 3, 3, 2)),
    (layers.UpSampling3D((1, 2, 3)), (2, 3, 2, 2)),
    (layers.RMSNormalization(), (3, 4)),
    (layers.UnitNormalization(), (3, 4)),
    (layers.GaussianDropout(0.4), (3, 4)),
    (layers.Rescaling([1.0, 2.0, 3.0, 4.0], 0.5), (3, 4)),
    (layers.Discretization([-0.5, 0.5], "one_hot"), (3, 4)),
    (layers.Discretization([-0.5, 0.5], "count"), (4,)),
    (layers.CategoryEncoding(3), ids),
    (layers.CategoryEncoding(3, "one_hot"), ids),
    (layers.CategoryEncoding(2, "count"), ids),
    (layers.IntegerLookup([1, 5], "count"), ids),
    (layers.IntegerLookup([1, 5], "one_hot"), ids),
    (layers.Masking(), (3, 4)),
    (layers.Attention(), [(3, 4), (5, 4)]),
    (layers.Attention(use_scale=True, score_mode="concat", dropout=0.4), [(3, 4), (3, 2), (3, 4)]),
    (layers.Attention(use_causal_mask=True), [(3, 4), (3, 4)]),
    (layers.MultiHeadAttention(2, 3, dropout=0.4), (3, 4)),
    (layers.MultiHeadAttention(2, 3, 2, output_shape=5, use_causal_mask=True),
     [(3, 4), (3, 2), (3, 5)]),
    (layers.SimpleRNN(3), (4, 2)),
    (layers.SimpleRNN(3, activation=None, use_bias=False, return_sequences=True), (4, 2)),
    (layers.LSTM(3, dropout=0.4), (4, 2)),
    (layers.LSTM(2, return_sequences=True, go_backwards=True), (4, 2)),
    (layers.GRU(3, use_bias=False), (4, 2)),
    (layers.GRU(2, return_sequences=True, reset_after=False, dropout=0.4), (4, 2)),
    (layers.Bidirectional(layers.LSTM(2)), (4, 3)),
    (layers.Bidirectional(layers.GRU(2, return_sequences=True), "mul"), (4, 3)),
    (layers.Sequential([layers.Embedding(3, 4), layers.LSTM(3), layers.Dense(2)]), ids),
    (two_branches(), (4,))]


EVERY = pytest.mark.parametrize("layer, spec", TABLE, ids=[
    f"{type(row[0]).__name__}-{i}" for i, row in enumerate(TABLE)])


@EVERY
def test_every_layer_conforms(layer, spec):
    made = check_layer(layer, spec)
    timed = getattr(layer, "keeps_time", False) and not isinstance(spec, list) and \
        len(getattr(spec, "shape", spec)) >= (1 if spec is ids else 2)
    assert set(made) | {"lengths"} == {"batch_size", "shapes", "dtypes", "gradients", "lengths",
                                       "rows", "padding", "determinism", "updates", "files",
                                       "weights"}
    assert "lengths" in made or not timed


def compiled_backend(name: str):
    """The native backend, or the CUDA backend on the CPU that stands in for a GPU."""
    if name == "native":
        if name not in available():
            pytest.skip("the native backend is not built")
        return gt.get_backend(name)
    if not (shutil.which("g++") or shutil.which("c++")):
        pytest.skip("the stand-in for a GPU needs a C++ compiler")
    from gradatim.backend.cuda import CudaBackend
    from gradatim.backend.cuda.cpu_device import CpuDevice
    return MADE.setdefault(name, CudaBackend(CpuDevice()))


MADE = {}


@pytest.mark.parametrize("name", ["native", "cuda"])
@EVERY
def test_compiled_backends_compute_every_layer_themselves(layer, spec, name):
    backend = compiled_backend(name)
    several = isinstance(spec, list)
    specs = [s if isinstance(s, gt.Spec) else gt.Spec.of(s) for s in (spec if several else [spec])]
    xs = [gt.placeholder((4, *s.shape), s.dtype.name) for s in specs]
    seed, step = gt.placeholder((), "int64", batch=False), gt.placeholder((), "int64", batch=False)
    layer = from_config(to_config(layer))
    flows = [Flow(x, seed=seed, step=step) for x in xs]
    out = layer.run(flows if several else flows[0], True)
    layer.initialize(1)
    wanted = [*layer.trainable_variables().values(), *(x for x in xs if x.spec.is_float)]
    results = [out.x, *gt.gradients((out.x * out.x).sum(), wanted), *out.updates.values(),
               *([] if out.lengths is None else [out.lengths])]
    rng = np.random.default_rng(0)
    arrays = [rng.standard_normal(x.shape).astype(x.dtype) if x.spec.is_float else
              rng.integers(0, 2, x.shape) for x in xs] + [np.int64(3), np.int64(5)]
    compiled, reference = (gt.function([*xs, seed, step], results, backend=b)
                           for b in (backend, "reference"))
    for got, want in zip(compiled(*arrays), reference(*arrays), strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-5 * max(1, np.abs(want).max()))
    assert compiled.plan().fall_backs == ()


def test_no_layer_is_left_out():
    abstract = {"Layer", "OpLayer"}
    found = {name for name, thing in classes().items() if issubclass(thing, layers.Layer)}
    assert found - abstract == {type(layer).__name__ for layer, _ in TABLE}


@pytest.mark.parametrize("layer, spec", [
    (layers.GlobalAveragePooling1D(), (5, 3)), (layers.GlobalMaxPooling1D(), (5, 3)),
    (layers.GRU(3), (4, 2)), (layers.Bidirectional(layers.SimpleRNN(2)), (4, 2))])
def test_layers_that_use_lengths_and_end_them_are_checked_too(layer, spec):
    assert "lengths" in check_layer(layer, spec)


@pytest.mark.parametrize("layer, spec", [(layers.Flatten(), (3, 4)), (layers.Dense(2), (3,)),
                                         (layers.Conv1D(2, 2), (4, 3))])
def test_lengths_are_not_checked_where_there_are_none(layer, spec):
    assert "lengths" not in check_layer(layer, spec)


# ---- layers that are wrong in one way each -----------------------------------------------------

class FixedBatch(layers.Layer):
    def call(self, x):
        return x.reshape(x.shape[0], -1)


class WrongShape(layers.Layer):
    def call(self, x):
        return gt.op("test_twice_as_wide", forward=lambda xp, x: xp.concatenate([x, x], -1),
                     spec=gt.backend.same)(x)


class OneType(layers.Layer):
    def call(self, x):
        return x.astype("float32")


class WrongGradient(layers.Layer):
    def call(self, x):
        return x * gt.stop_gradient(x)


class SeesPadding(layers.Layer):
    keeps_time = True

    def call(self, x):
        return x + gt.flip(x, axis=1)


class SeesNeighbours(layers.Layer):
    def call(self, x):
        return x - gt.flip(x, axis=0)


class SeesPaddingRows(layers.Layer):
    """Takes the mean of the batch without weights while training."""

    def build(self, spec):
        self.mean = self.add_weight("mean", spec.shape[-1:], "zeros", trainable=False)

    def forward(self, flow, training):
        x, mean = flow.x, gt.batch_sum(flow.x) / 4.0
        return flow.to(x - self.mean, updates={self.mean: mean} if training else {})


class Restless(layers.Layer):
    """Another value at every call."""
    calls = 0

    def call(self, x):
        Restless.calls += 1
        return x + float(Restless.calls)


class UpdatesTrained(layers.Layer):
    def build(self, spec):
        self.factor = self.add_weight("factor", spec.shape[-1:], "ones")

    def forward(self, flow, training):
        updates = {**flow.updates, self.factor: self.factor * 0.5} if training else flow.updates
        return flow.to(flow.x * self.factor, updates=updates)


class UpdatesAlways(layers.Layer):
    def build(self, spec):
        self.total = self.add_weight("total", spec.shape[-1:], "zeros", trainable=False)

    def forward(self, flow, training):
        return flow.to(flow.x + self.total, updates={self.total: self.total + 1.0})


class DeafToWeights(layers.Layer):
    def build(self, spec):
        self.factor = self.add_weight("factor", spec.shape[-1:], "ones")

    def set_weights(self, weights):
        self.factor.assign(np.ones(self.factor.shape))

    def call(self, x):
        return x * self.factor


WRONG = [
    (FixedBatch(), (4,), "batch_size: the graph depends on the batch size: "
                         "reshape %0 shape=(2, -1)"),
    (WrongShape(), (4,), "shapes: [4, 8] comes out, and the graph says [4, 4]"),
    (OneType(), (4,), "dtypes: float64 becomes float32"),
    (WrongGradient(), (4,), "gradients: by input 0: the gradient gives "),
    (SeesPadding(), (3, 4), "lengths: steps beyond a row's length change it: by "),
    (SeesNeighbours(), (4,), "rows: row 0 depends on its neighbours: by "),
    (SeesPaddingRows(), (4,), "padding: a row of weight zero changes an update: by "),
    (Restless(), (4,), "determinism: two runs differ"),
    (UpdatesTrained(), (4,), 'updates: "updates_trained/factor" is updated, and is trainable or '
                             "of another layer"),
    (UpdatesAlways(), (4,), "updates: there are updates at inference"),
    (DeafToWeights(), (4,), "weights: set_weights accepts arrays that do not fit")]


@pytest.mark.parametrize("layer, spec, text", WRONG, ids=[type(w[0]).__name__ for w in WRONG])
def test_a_wrong_layer_is_told_what_is_wrong(layer, spec, text):
    with pytest.raises(AssertionError) as caught:
        check_layer(layer, spec)
    lines = str(caught.value).splitlines()
    assert lines[0].startswith(f"the layer {type(layer).__name__} fails ")
    assert any(line.startswith(f"  {text}") for line in lines), str(caught.value)


def test_a_layer_that_forgets_an_argument_fails():
    class Forgets(layers.Layer):
        def __init__(self, factor=1.0, name=None):
            super().__init__(name)
            self.factor = 1.0               # stored as something else than what was given
            self.used = factor

        def config(self):
            return {"factor": self.used * 2}

        def call(self, x):
            return x * self.used
    with pytest.raises(AssertionError, match="files: a copy has other arguments"):
        check_layer(Forgets(3.0), (4,))


def test_a_layer_that_raises_fails_with_its_error():
    class Broken(layers.Layer):
        def call(self, x):
            raise ValueError("no")
    with pytest.raises(AssertionError, match="(?s)fails 10 checks.*  rows: ValueError: no"):
        check_layer(Broken(), (4,))


def test_the_layer_itself_is_left_alone():
    layer = layers.Dense(3)
    layer(gt.placeholder((2, 4)))
    before = layer.get_weights()
    check_layer(layer, (4,))
    for a, b in zip(before, layer.get_weights()):
        np.testing.assert_array_equal(a, b)
    assert layer.dtype == "float32"
