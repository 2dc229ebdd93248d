"""Shape, indexing, matrix product and sums over samples: plain loops, open batch axes, errors."""
import numpy as np
import pytest

import gradatim as gt
from gradatim.backend import OPS
from gradatim.backend.errors import DTypeError, GradientError, ParameterError, ShapeError


def value(op, *arrays, **settings):
    """An op's value on the reference."""
    return gt.run(op(*map(gt.constant, arrays), **settings))


def numbers(*shape):
    """Different normal numbers in float32."""
    return np.random.default_rng(sum(shape)).standard_normal(shape).astype("float32")


# ---- the batch axis ----------------------------------------------------------------------------

OPEN = {
    "reshape": lambda x: gt.reshape(x, shape=(-1, 12)),
    "transpose": lambda x: gt.transpose(x, axes=(0, 2, 1)),
    "expand_dims": lambda x: gt.expand_dims(x, axis=1),
    "squeeze": lambda x: gt.squeeze(gt.expand_dims(x, axis=-1), axis=-1),
    "concatenate": lambda x: gt.concatenate(x, x * 2.0, axis=1),
    "split": lambda x: gt.split(x, sections=(1, 2), axis=1)[1],
    "stack": lambda x: gt.stack(x, x, axis=2),
    "index": lambda x: x[:, 1, ::2],
    "pad": lambda x: gt.pad(x, widths=((0, 0), (1, 2), (0, 1))),
    "tile": lambda x: gt.tile(x, repeats=(1, 2, 3)),
    "flip": lambda x: gt.flip(x, axis=1),
    "broadcast_like": lambda x: gt.broadcast_like(x[:, :1], x),
    "gather": lambda x: gt.gather(x, [0, 2, 2], axis=1),
    "reverse_sequence": lambda x: gt.reverse_sequence(x, gt.full_lengths(x)),
    "matmul": lambda x: gt.matmul(x, numbers(4, 5)),
    "matmul transposed": lambda x: gt.matmul(x, numbers(5, 4), transpose_y=True),
    "matmul batched": lambda x: gt.matmul(x, x, transpose_y=True),
    "batch_sum": lambda x: gt.batch_sum(x, x[:, 0, 0], axes=(0, 1))}


@pytest.mark.parametrize("make", OPEN.values(), ids=OPEN)
def test_settings_serve_every_batch_size(make):
    def settings(batch):
        x = gt.placeholder((batch, 3, 4))
        y = make(x)
        (dx,) = gt.gradients((y * y).sum(), [x])
        return [(n.op.name, n.settings) for n in gt.graph(dx).steps if n.op.name != "constant"]
    assert settings(5) == settings(7)


@pytest.mark.parametrize("batch", [0, 1])
@pytest.mark.parametrize("make", OPEN.values(), ids=OPEN)
def test_batches_of_no_and_of_one_sample(make, batch):
    x = gt.placeholder((batch, 3, 4))
    y = make(x)
    (dx,) = gt.gradients(y.sum(), [x])
    values = gt.run([y, dx], {x: np.ones((batch, 3, 4), np.float32)})
    assert [v.shape for v in values] == [y.shape, x.shape]


# ---- shape -------------------------------------------------------------------------------------

def test_one_section_is_a_tuple_of_one():
    parts = gt.split(gt.constant(numbers(2, 3)), sections=1)
    assert isinstance(parts, tuple) and len(parts) == 1
    np.testing.assert_array_equal(gt.run(parts[0]), numbers(2, 3))
    with gt.eager():
        np.testing.assert_array_equal(gt.split(gt.constant(numbers(2, 3)), sections=1)[0].numpy(),
                                      numbers(2, 3))


def test_unused_parts_have_zero_gradients():
    x = gt.placeholder((2, 6))
    _, middle, _ = gt.split(x, sections=3)
    (dx,) = gt.gradients(middle.sum(), [x])
    np.testing.assert_array_equal(gt.run(dx, {x: numbers(2, 6)}), [[0, 0, 1, 1, 0, 0]] * 2)


INDICES = [np.s_[1], np.s_[-1], np.s_[1:], np.s_[:, 2], np.s_[..., -1], np.s_[::2, 1:-1],
           np.s_[None, 1:], np.s_[None, :, 1], np.s_[3:1], np.s_[:, :, None, 0], np.s_[1, 2, 3],
           np.s_[-3:, None, None, -2], np.s_[..., None, -5], np.s_[...]]


@pytest.mark.parametrize("index", INDICES, ids=str)
def test_indexing_is_that_of_numpy(index):
    x = gt.placeholder((4, 3, 5))
    (dx,) = gt.gradients(x[index].sum(), [x])
    got, slope = gt.run([x[index], dx], {x: numbers(4, 3, 5)})
    np.testing.assert_array_equal(got, numbers(4, 3, 5)[index])
    want = np.zeros((4, 3, 5))
    want[index] = 1.0
    np.testing.assert_array_equal(slope, want)


# ---- indexing ----------------------------------------------------------------------------------

def test_gather_and_its_gradient_count_repeated_rows():
    x, indices = gt.placeholder((3, 2)), np.array([[2, 0], [2, -1]])
    (dx,) = gt.gradients(gt.gather(x, indices).sum(), [x])
    got, slope = gt.run([gt.gather(x, indices), dx], {x: numbers(3, 2)})
    np.testing.assert_array_equal(got, numbers(3, 2)[indices])
    np.testing.assert_array_equal(slope, [[1, 1], [0, 0], [3, 3]])


@pytest.mark.parametrize("op", [OPS["gather"], OPS["take_along"]], ids=str)
def test_an_index_outside_is_refused_when_it_runs(op):
    x = gt.placeholder((3, 3))
    indices = gt.placeholder((3, 3), "int64")
    with pytest.raises(IndexError):
        gt.run(op(x, indices), {x: numbers(3, 3), indices: np.full((3, 3), 3)})


def test_scatter_add_adds_in_the_order_given():
    values = np.array([[1e8], [1.0], [-1e8]], np.float32)
    like, zeros = np.zeros((1, 1), np.float32), np.zeros(3, np.int64)
    assert value(gt.scatter_add, zeros, values, like) == 0.0
    assert value(gt.scatter_add, zeros, values[[0, 2, 1]], like) == 1.0


def test_one_hot_of_a_number_outside_is_a_row_of_zeros():
    np.testing.assert_array_equal(value(gt.one_hot, np.array([1, -1, 2]), depth=2),
                                  [[0, 1], [0, 0], [0, 0]])


@pytest.mark.parametrize("dtype", ["int32", "int64", "uint8"])
def test_sequences_by_a_loop(dtype):
    x, lengths = numbers(4, 5, 2), np.array([0, 1, 3, 5], dtype)
    mask, backwards = np.zeros((4, 5), bool), x.copy()
    for row, length in enumerate(lengths):
        mask[row, :length] = True
        backwards[row, :length] = x[row, :length][::-1]
    np.testing.assert_array_equal(value(gt.sequence_mask, x, lengths), mask)
    np.testing.assert_array_equal(value(gt.reverse_sequence, x, lengths), backwards)
    np.testing.assert_array_equal(value(gt.full_lengths, x), [5, 5, 5, 5])
    assert value(gt.row_offset, x) == 0


# ---- matrix product ----------------------------------------------------------------------------

@pytest.mark.parametrize("transpose_x", [False, True])
@pytest.mark.parametrize("transpose_y", [False, True])
@pytest.mark.parametrize("lead_x, lead_y", [((), ()), ((2,), ()), ((), (2,)), ((2, 1), (3,)),
                                            ((2, 3), ())])
def test_matmul_by_its_definition(transpose_x, transpose_y, lead_x, lead_y):
    x = numbers(*lead_x, *((4, 5) if transpose_x else (5, 4)))
    y = numbers(*lead_y, *((6, 4) if transpose_y else (4, 6)))
    left, right = ("ki" if transpose_x else "ik"), ("jk" if transpose_y else "kj")
    np.testing.assert_allclose(
        value(gt.matmul, x, y, transpose_x=transpose_x, transpose_y=transpose_y),
        np.einsum(f"...{left},...{right}->...ij", x, y), rtol=1e-5, atol=1e-5)


def test_a_shared_matrix_makes_one_product():
    x, w = gt.placeholder((6, 7, 4)), gt.variable(numbers(4, 5))
    steps = gt.graph(*gt.gradients((x @ w).sum(), [w])).steps
    product = [n for n in steps if n.op.name == "matmul"][-1]
    assert [t.shape for t in product.inputs] == [(42, 4), (42, 5)]
    assert product.outputs[0].shape == (4, 5)


def test_matmul_counts_a_multiplication_and_an_addition():
    x, y = gt.placeholder((2, 3, 4)), gt.placeholder((4, 5))
    assert (x @ y).node.op.count_flops(x.spec, y.spec, transpose_x=False,
                                       transpose_y=False) == 2 * 2 * 3 * 4 * 5


# ---- sums over samples -------------------------------------------------------------------------

@pytest.mark.parametrize("axes", [(0,), (0, 1), (0, 2), (2, 0), (0, 1, 2)])
@pytest.mark.parametrize("keepdims", [False, True])
def test_batch_sum_weights_the_rows(axes, keepdims):
    x, weights = numbers(4, 3, 2), np.array([1.0, 0.5, 0.0, 2.0], np.float32)
    want = (x * weights[:, None, None]).sum(axes, keepdims=keepdims)
    np.testing.assert_allclose(value(gt.batch_sum, x, weights, axes=axes, keepdims=keepdims),
                               want, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(value(gt.batch_sum, x, axes=axes, keepdims=keepdims),
                               x.sum(axes, keepdims=keepdims), rtol=1e-5, atol=1e-6)


def test_padding_rows_add_nothing_to_whole_numbers():
    x, weights = np.arange(12, dtype=np.int64).reshape(4, 3), np.array([1, 1, 0, 0])
    np.testing.assert_array_equal(value(gt.batch_sum, x, weights), x[:2].sum(0))


@pytest.mark.parametrize("name", ["all_reduce", "all_gather", "broadcast_from"])
def test_a_collective_on_one_device_changes_nothing(name):
    np.testing.assert_array_equal(value(OPS[name], numbers(2, 3)), numbers(2, 3))


def test_the_largest_of_replicas_has_no_gradient():
    x = gt.placeholder((2,))
    with pytest.raises(GradientError, match="all_reduce has no gradient for max"):
        gt.gradients(gt.all_reduce(x, operation="max").sum(), [x])


# ---- errors ------------------------------------------------------------------------------------

X = (2, 3, 4)
ERRORS = [
    (lambda x: gt.reshape(x, shape=(5, -1)), ShapeError,
     "reshape: 24 elements do not fill the shape [5, -1]"),
    (lambda x: gt.reshape(x, shape=(-1, -1)), ShapeError,
     "reshape: [-1, -1] leaves more than one axis open"),
    (lambda x: gt.reshape(x, shape=(2, 5)), ShapeError,
     "reshape: 24 elements do not fill the shape [2, 5]"),
    (lambda x: gt.reshape(x, shape=(2.0, 12)), ParameterError,
     "reshape: shape holds whole numbers from -1 on, not (2.0, 12)"),
    (lambda x: gt.transpose(x, axes=(0, 1)), ShapeError,
     "transpose: axes (0, 1) is not an order of 3 axes"),
    (lambda x: gt.squeeze(x, axis=1), ShapeError, "squeeze: axis 1 has the length 3, not 1"),
    (lambda x: gt.expand_dims(x, axis=4), ShapeError,
     "expand_dims: axis 4 is out of range for 4 dimensions"),
    (lambda x: gt.concatenate(x, x[:, 1:], axis=2), ShapeError,
     "concatenate: the shapes differ beside axis 2"),
    (lambda x: gt.concatenate(), ParameterError, "concatenate: there is nothing to join"),
    (lambda x: gt.concatenate(x, gt.cast(x, dtype="float64")), DTypeError,
     "concatenate: the element types differ, float32 and float64"),
    (lambda x: gt.stack(x, x[:1]), ShapeError, "stack: the shapes differ"),
    (lambda x: gt.split(x, sections=3), ShapeError,
     "split: axis 2 of length 4 does not part into 3"),
    (lambda x: gt.split(x, sections=(1, 1), axis=1), ShapeError,
     "split: axis 1 of length 3 does not part into (1, 1)"),
    (lambda x: gt.slice(x, start=(0,), stop=(1, 2)), ParameterError,
     "slice: start, stop and step need one entry for each of up to 3 axes"),
    (lambda x: x[::-1], ParameterError, "a slice's step must be positive"),
    (lambda x: gt.pad(x, widths=((1, 1),)), ParameterError,
     "pad: widths needs one pair for each of 3 axes, not ((1, 1),)"),
    (lambda x: gt.tile(x, repeats=2), ParameterError,
     "tile: repeats needs one number for each of 3 axes, not (2,)"),
    (lambda x: gt.broadcast_to(x, shape=(3, 4)), ShapeError,
     "broadcast_to: [2, 3, 4] does not broadcast to [3, 4]"),
    (lambda x: gt.broadcast_to(x, shape=(2, 3, 5)), ShapeError,
     "broadcast_to: the shapes do not broadcast: [2, 3, 4] and [2, 3, 5]"),
    (lambda x: gt.gather(x, gt.constant([0.0])), DTypeError,
     "gather: indices must be integers, not float32"),
    (lambda x: gt.take_along(x, gt.constant([[0]])), ShapeError,
     "take_along: the shapes differ beside axis 2"),
    (lambda x: gt.one_hot([1, 2], depth=-1), ParameterError,
     "one_hot: the depth is a whole number from 0 on, not -1"),
    (lambda x: gt.sequence_mask(x, [1, 2, 3]), ShapeError,
     "sequence_mask: the lengths have the shape [3], not [2]"),
    (lambda x: gt.full_lengths(x[0, 0]), ShapeError,
     "full_lengths: needs axes (batch, time, ...)"),
    (lambda x: gt.matmul(x, gt.placeholder((5, 3))), ShapeError,
     "matmul: the inner sizes differ, 4 and 5"),
    (lambda x: gt.matmul(x, gt.placeholder((4,))), ShapeError,
     "matmul: both factors need 2 axes or more"),
    (lambda x: gt.matmul(x, gt.placeholder((3, 4, 5))), ShapeError,
     "matmul: the shapes do not broadcast: [2] and [3]"),
    (lambda x: gt.batch_sum(x, axes=(1,)), ShapeError,
     "batch_sum: axes (1,) leave out axis 0, the samples"),
    (lambda x: gt.batch_sum(x, gt.placeholder((3,))), ShapeError,
     "batch_sum: the weights have the shape [3], not [2]"),
    (lambda x: gt.batch_sum(x > 0.0), DTypeError, "batch_sum: needs numbers, not bool"),
    (lambda x: gt.all_reduce(x, operation="product"), ParameterError,
     'all_reduce: there is no operation "product"')]


@pytest.mark.parametrize("make, error, text", ERRORS, ids=[row[2] for row in ERRORS])
def test_error(make, error, text):
    with pytest.raises(error) as caught:
        make(gt.placeholder(X))
    assert str(caught.value).splitlines()[0] == text
    assert "test_shape_ops.py" in str(caught.value) or "slice's step" in text
