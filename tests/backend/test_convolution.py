"""Convolution and its gradients against an explicit loop, SciPy, and the trilinear identity."""
import itertools

import numpy as np
import pytest
from scipy.signal import correlate

import gradatim as gt
from gradatim.backend import OPS
from gradatim.backend.errors import DTypeError, ParameterError, ShapeError
from gradatim.backend.ops.sliding import sliding

TABLE = [  # x shape, kernel shape, settings
    ((2, 6, 7, 3), (3, 2, 3, 4), {}),
    ((2, 6, 7, 3), (3, 2, 3, 4), {"padding": "same"}),
    ((2, 7, 6, 1), (3, 3, 1, 5), {"padding": "same", "strides": 2}),
    ((2, 8, 9, 2), (3, 4, 2, 3), {"strides": (3, 2)}),
    ((2, 8, 9, 2), (2, 3, 2, 3), {"dilation": (3, 2), "padding": "same"}),
    ((1, 9, 9, 2), (3, 3, 2, 2), {"dilation": 2, "strides": 2}),
    ((2, 5, 4, 3), (3, 3, 3, 2), {"padding": ((2, 0), (1, 3))}),
    ((2, 5, 4, 3), (2, 2, 3, 2), {"padding": ((4, 4), (0, 5)), "strides": 2}),
    ((2, 5, 5, 24), (3, 3, 24, 20), {"padding": "same"}),
    ((2, 6, 5, 20), (3, 2, 20, 2), {"dilation": (1, 2)}),
    ((2, 5, 5, 20), (2, 2, 20, 2), {"padding": ((3, 3), (3, 3))}),
    ((2, 5, 6, 4), (3, 3, 2, 6), {"groups": 2, "padding": "same"}),
    ((2, 6, 6, 24), (3, 3, 8, 9), {"groups": 3}),
    ((2, 6, 6, 4), (3, 3, 1, 4), {"groups": 4}),
    ((2, 6, 7, 3), (3, 2, 1, 6), {"groups": 3, "padding": "same", "strides": 2}),
    ((2, 7, 7, 3), (2, 2, 1, 9), {"groups": 3, "dilation": 2}),
    ((2, 4, 4, 3), (1, 1, 3, 5), {}),
    ((2, 5, 5, 3), (1, 1, 3, 5), {"strides": 2}),
    ((1, 1, 1, 1), (1, 1, 1, 1), {}),
    ((3, 1, 1, 2), (3, 3, 2, 4), {"padding": "same"}),
    ((1, 3, 3, 2), (3, 3, 2, 4), {}),
    ((0, 4, 4, 2), (3, 3, 2, 2), {}),
    ((2, 4, 4, 0), (3, 3, 0, 2), {}),
    ((2, 0, 4, 2), (3, 3, 2, 2), {"padding": "same"}),
    ((2, 9, 3), (4, 3, 2), {}),
    ((2, 9, 3), (4, 3, 2), {"padding": "same", "strides": 2}),
    ((2, 9, 3), (3, 3, 2), {"padding": "causal", "dilation": 2}),
    ((2, 9, 3), (3, 1, 3), {"padding": "causal", "groups": 3}),
    ((2, 1, 1), (1, 1, 1), {}),
    ((2, 6, 2), (3, 2, 2), {"padding": ((0, 4),), "strides": 3})]


def loop(x, kernel, groups=1, **settings):
    """The definition, one window and one filter at a time."""
    axes = sliding(x.shape[1:-1], kernel.shape[:-2], **{
        "strides": 1, "padding": "valid", "dilation": 1, **settings})
    x = np.pad(x, ((0, 0), *((a.low, a.high) for a in axes), (0, 0)))
    out = np.zeros((len(x), *(a.out for a in axes), kernel.shape[-1]))
    depth, share = kernel.shape[-2], max(1, kernel.shape[-1] // groups)
    for spot in np.ndindex(*out.shape[1:-1]):
        for filter in range(out.shape[-1]):
            group = filter // share
            for offset in np.ndindex(*kernel.shape[:-2]):
                at = tuple(s * a.stride + o * a.dilation for s, o, a in zip(spot, offset, axes))
                pixels = x[(slice(None), *at)][:, group * depth:(group + 1) * depth]
                out[(slice(None), *spot, filter)] += pixels @ kernel[(*offset, slice(None), filter)]
    return out


def run(name, *arrays, **settings):
    inputs = [gt.placeholder(a.shape, a.dtype) for a in arrays]
    return gt.function(inputs, OPS[name](*inputs, **settings), backend="reference")(*arrays)


@pytest.mark.parametrize("x_shape, kernel_shape, settings", TABLE)
def test_convolution_and_its_gradients(x_shape, kernel_shape, settings):
    rng = np.random.default_rng(0)
    x, kernel = rng.standard_normal(x_shape), rng.standard_normal(kernel_shape)
    want = loop(x, kernel, **settings)
    np.testing.assert_allclose(run("convolution", x, kernel, **settings), want, atol=1e-12)
    g = rng.standard_normal(want.shape)
    by_x = run("convolution_data_gradient", g, kernel, size=x_shape[1:-1], **settings)
    by_kernel = run("convolution_kernel_gradient", x, g, window=kernel_shape[:-2], **settings)
    # Bilinear: a gradient's entry is the product of g with the response to one unit.
    for gradient, shape, respond in (
            (by_x, x_shape, lambda unit: loop(unit, kernel, **settings)),
            (by_kernel, kernel_shape, lambda unit: loop(x, unit, **settings))):
        assert gradient.shape == shape
        for index in itertools.islice(np.ndindex(*shape), 0, None, 1 + gradient.size // 12):
            unit = np.zeros(shape)
            unit[index] = 1.0
            np.testing.assert_allclose(gradient[index], np.sum(g * respond(unit)), atol=1e-11)


def test_against_scipy():
    rng = np.random.default_rng(1)
    x, kernel = rng.standard_normal((1, 9, 8, 2)), rng.standard_normal((3, 4, 2, 1))
    for padding in ("valid", "same"):
        want = sum(correlate(x[0, :, :, c], kernel[:, :, c, 0], mode=padding) for c in range(2))
        got = run("convolution", x, kernel, padding=padding)
        if padding == "same":  # an even window: SciPy puts the odd zero first, Keras last
            want, got = want[:, 1:], got[:, :, :-1]
        np.testing.assert_allclose(got[0, :, :, 0], want, atol=1e-12)


@pytest.mark.parametrize("channels, filters", [(3, 8), (32, 8)])
def test_blocks_give_the_same_as_samples_alone(monkeypatch, channels, filters):
    from gradatim.backend.ops import convolution
    monkeypatch.setattr(convolution, "BLOCK", 20_000)
    rng = np.random.default_rng(2)
    x = rng.standard_normal((7, 6, 6, channels))
    kernel = rng.standard_normal((3, 3, channels, filters))
    y = run("convolution", x, kernel)
    np.testing.assert_allclose(y, np.concatenate(
        [run("convolution", x[i:i + 1], kernel) for i in range(7)]), atol=1e-12)
    alone = [run("convolution_kernel_gradient", x[i:i + 1], y[i:i + 1], window=(3, 3))
             for i in range(7)]
    np.testing.assert_allclose(
        run("convolution_kernel_gradient", x, y, window=(3, 3)), sum(alone), atol=1e-9)


def test_settings_hold_no_batch_size():
    def text(batch):
        x, kernel = gt.placeholder((batch, 6, 6, 2)), gt.variable((3, 3, 2, 4))
        y = gt.convolution(x, kernel, padding="same")
        nodes = gt.graph(*gt.gradients(y.sum(), [x, kernel])).nodes
        return [(n.op.name, n.settings) for n in nodes if n.op.name.startswith("convolution")]
    assert text(2) == text(5)
    assert {"convolution_data_gradient", "convolution_kernel_gradient"} <= set(dict(text(2)))


def test_flops_of_all_three():
    x, kernel = gt.Spec.of((2, 8, 8, 4)), gt.Spec.of((3, 3, 2, 6))
    settings = {"strides": 1, "padding": "same", "dilation": 1, "groups": 2}
    want = 2 * (2 * 8 * 8 * 6) * 3 * 3 * 2
    g = gt.Spec.of((2, 8, 8, 6))
    assert gt.convolution.count_flops(x, kernel, **settings) == want
    assert gt.convolution_data_gradient.count_flops(
        g, kernel, size=(8, 8), **settings) == want
    assert gt.convolution_kernel_gradient.count_flops(
        x, g, window=(3, 3), **settings) == want


@pytest.mark.parametrize("x, kernel, settings, error, text", [
    ((2, 4, 4, 3), (5, 3, 3, 2), {}, ShapeError, "a window of 5 does not fit into 4"),
    ((2, 4, 4, 3), (3, 3, 3, 2), {"dilation": 2}, ShapeError,
     "a window of 3 (dilated to 5) does not fit into 4"),
    ((2, 4, 4, 3), (0, 3, 3, 2), {}, ShapeError, "a window has no elements"),
    ((2, 4, 4, 3), (3, 3, 1, 2), {"groups": 2}, ShapeError,
     "3 channels cannot be divided into 2 groups"),
    ((2, 4, 4, 4), (3, 3, 2, 3), {"groups": 2}, ShapeError,
     "3 filters cannot be divided into 2 groups"),
    ((2, 4, 4, 3), (3, 3, 4, 2), {}, ShapeError,
     "the kernel is for 4 channels and the input has 3"),
    ((2, 4, 4, 3), (3, 3, 2), {}, ShapeError,
     "the kernel must have 4 dimensions, not 3"),
    ((2, 3), (3, 3), {}, ShapeError,
     "the input must be (batch, length, channels), (batch, height, width, channels) or "
     "(batch, depth, height, width, channels), not 2-d"),
    ((2, 4, 4, 3), (3, 3, 3, 2), {"strides": 0}, ParameterError,
     "strides must be a positive whole number or 2 of them"),
    ((2, 4, 4, 3), (3, 3, 3, 2), {"dilation": (1, 2, 3)}, ParameterError,
     "dilation must be a positive whole number or 2 of them"),
    ((2, 4, 4, 3), (3, 3, 3, 2), {"groups": 0}, ParameterError,
     "groups must be a positive whole number, not 0"),
    ((2, 4, 4, 3), (3, 3, 3, 2), {"padding": "full"}, ParameterError,
     'there is no padding "full" for 2 spatial dimensions'),
    ((2, 4, 4, 3), (3, 3, 3, 2), {"padding": "causal"}, ParameterError,
     'there is no padding "causal" for 2 spatial dimensions'),
    ((2, 4, 4, 3), (3, 3, 3, 2), {"padding": ((1, 1),)}, ParameterError,
     "padding must be a word or 2 of (low, high), from 0 on")])
def test_error_texts(x, kernel, settings, error, text):
    with pytest.raises(error) as caught:
        gt.convolution(gt.placeholder(x), gt.placeholder(kernel), **settings)
    assert caught.value.what == f"convolution: {text}"


def test_gradient_error_texts():
    g, kernel, x = (gt.placeholder(s) for s in ((2, 4, 4, 2), (3, 3, 3, 2), (2, 7, 7, 3)))
    with pytest.raises(ShapeError, match=r"must be \(batch, 5, 5, 2\), not \[2, 4, 4, 2\]"):
        gt.convolution_data_gradient(g, kernel, size=(7, 7))
    with pytest.raises(ShapeError, match=r"must be \(batch, 5, 5, 2\), not \[2, 4, 4, 2\]"):
        gt.convolution_kernel_gradient(x, g, window=(3, 3))
    with pytest.raises(ShapeError, match="the batches differ, 3 and 2"):
        gt.convolution_kernel_gradient(gt.placeholder((3, 6, 6, 3)), g, window=(3, 3))
    with pytest.raises(DTypeError, match="float32 and float64"):
        gt.convolution(x, gt.placeholder((3, 3, 3, 2), "float64"))


def test_one_step_windows():
    axis, = sliding((5,), (3,), strides=2, padding="same")
    assert (axis.low, axis.high, axis.out) == (1, 1, 3)
    axis, = sliding((6,), (3,), strides=2, padding="same")
    assert (axis.low, axis.high, axis.out) == (0, 1, 3)
