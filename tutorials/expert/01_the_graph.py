"""The graph underneath: the gradient by hand, by autodiff and by layers, equal to ten digits."""
# %% [markdown]
# # The graph, at the level of a matrix product
#
# For people who could write all of this themselves and want to see how it is done here. One net is
# trained in three ways: in NumPy with the gradient written by hand, on the graph with
# `gt.gradients`, and with layers and a `Trainer`. In float64 the three agree to 1e-10.

# %%
import gradatim as gt
x = gt.placeholder((2, 3))
y = gt.tanh(x @ gt.constant([[1.0], [2.0], [3.0]]))
print(gt.run(y, {x: [[0.1, 0.0, 0.0], [0.0, 0.1, 0.0]]}).ravel())

# %%
import os

import numpy as np

from gradatim import layers
from gradatim.datasets import load_digits
from gradatim.training import SGD

STEPS = 5 if os.environ.get("FAST") else 50
digits = load_digits()
X, labels = digits.data[:200] / 16.0, digits.target[:200]          # (200, 64) float64, (200,) int64
rng = np.random.default_rng(0)
first = {"hidden/kernel": rng.standard_normal((64, 32)) / 8.0, "hidden/bias": np.zeros(32),
         "logits/kernel": rng.standard_normal((32, 10)) / 6.0, "logits/bias": np.zeros(10)}
RATE = 0.5

# %% [markdown]
# ## 1. By hand
#
# `loss = mean(-log softmax(tanh(X w + b) v + c))`. The gradient of softmax and cross-entropy
# together is `(p - onehot) / n`; all else is the chain rule, and two transposes.

# %%
w, b, v, c = (a.copy() for a in first.values())
onehot = np.eye(10)[labels]                                        # (200, 10)
losses_by_hand = []
for _ in range(STEPS):
    h = np.tanh(X @ w + b)                                         # (200, 32)
    z = h @ v + c                                                  # (200, 10)
    z = z - z.max(axis=1, keepdims=True)                           # exp must not overflow
    p = np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)
    losses_by_hand.append(-np.log(p[np.arange(200), labels]).mean())
    dz = (p - onehot) / len(X)                                     # (200, 10)
    dh = dz @ v.T * (1.0 - h * h)                                  # (200, 32)
    w, b, v, c = (w - RATE * X.T @ dh, b - RATE * dh.sum(axis=0),
                  v - RATE * h.T @ dz, c - RATE * dz.sum(axis=0))
by_hand = dict(zip(first, (w, b, v, c)))
print(f"by hand: loss {losses_by_hand[0]:.4f} -> {losses_by_hand[-1]:.4f}")
assert losses_by_hand[-1] < losses_by_hand[0] < 3.0

# %% [markdown]
# ## 2. On the graph
#
# A `Tensor` is a node, not a value: nothing is computed here. `gt.gradients` adds the nodes of the
# derivatives, and the updates of the weights are nodes too, so that one whole training step is one
# program, compiled once.

# %%
x, y = gt.placeholder((200, 64), "float64", name="x"), gt.placeholder((200,), "int64", name="y")
weights = {name: gt.variable(value, name=name) for name, value in first.items()}
w, b, v, c = weights.values()
hidden = gt.tanh(x @ w + b)
logits = hidden @ v + c
loss = gt.softmax_cross_entropy(logits, y).mean()
slopes = gt.gradients(loss, [w, b, v, c])
step = gt.function([x, y], loss, updates={p: p - RATE * g for p, g in zip((w, b, v, c), slopes)})
losses = [float(step(X, labels)) for _ in range(STEPS)]
print(f"graph:   loss {losses[0]:.4f} -> {losses[-1]:.4f}")


def difference(these, those):
    """The largest difference between two sets of weights."""
    return max(np.abs(these[name] - those[name]).max() for name in first)


on_graph = {name: p.numpy() for name, p in weights.items()}
print(f"largest difference of a weight from those by hand: {difference(on_graph, by_hand):.1e}")
assert np.allclose(losses, losses_by_hand, rtol=0, atol=1e-10)
assert difference(on_graph, by_hand) < 1e-10

# %% [markdown]
# ## 3. With layers
#
# The same net as two `Dense` layers. A `Trainer` builds the same graph: forward, gradients, updates
# and metric counts, nothing hidden. Weights have names, and can be set. As in Keras, a loss by name
# takes probabilities; our net ends with logits, so we say so.

# %%
net = gt.Sequential([gt.Input((64,)), layers.Dense(32, "tanh", name="hidden"),
                     layers.Dense(10, name="logits")])
trainer = gt.Trainer(net, loss=layers.SparseCategoricalCrossentropy(from_logits=True),
                     optimizer=SGD(RATE), dtype="float64")
trainer.prepare(X)                                                 # builds it and draws weights
for name, variable in net.variables().items():
    variable.assign(first[name])
run = trainer.fit(X, labels, epochs=STEPS, batch_size=None)        # None: all rows in every step
with_layers = {name: variable.numpy() for name, variable in net.variables().items()}
print(f"layers:  loss {run.history[0]['loss']:.4f} -> {run.history[-1]['loss']:.4f}")
print(f"largest difference of a weight from those by hand: {difference(with_layers, by_hand):.1e}")
assert np.allclose([epoch["loss"] for epoch in run.history], losses_by_hand, rtol=0, atol=1e-10)
assert difference(with_layers, by_hand) < 1e-10

# %% [markdown]
# Why not to the last bit? The sums are taken in another order. The same program on the same machine
# does repeat itself to the last bit.
#
# ## The graph can be read
#
# Printed, it is one line per node: what it is, from which others, with which settings, and its
# shape. `gt.graph(...).dot()` is the same for Graphviz.

# %%
text = str(gt.graph(loss))
print(text)
assert text.count("= matmul ") == 2 and text.count("= variable ") == 4
assert text.splitlines()[-1].startswith("return %")
assert gt.graph(loss).dot().startswith("digraph")

# %% [markdown]
# ## What will it cost?
#
# `plan()` knows before anything runs. A product of (n, k) and (k, m) takes 2 n k m operations.

# %%
forward = gt.graph(loss).plan()
print(forward)
assert forward.ops["matmul"] == 2 * 200 * 64 * 32 + 2 * 200 * 32 * 10
assert forward.variable_bytes == 8 * (64 * 32 + 32 + 32 * 10 + 10)

# %% [markdown]
# A whole step, gradient and updates included, has more products: one on the way back for each of
# the two operands, except that nobody asked for the gradient by `x`.

# %%
products = step.plan().ops["matmul"] / forward.ops["matmul"]
print(f"{products:.2f} times the products of the forward graph")
assert np.isclose(products, (2 * 64 * 32 + 3 * 32 * 10) / (64 * 32 + 32 * 10))

# %% [markdown]
# ## Fetch anything, feed anything
#
# Any node can be asked for, and only what it needs is computed: `hidden` needs no labels. Any node
# can also be fed, and what lies behind it is then not computed: here `logits`, without any `x`.

# %%
activations = gt.run(hidden, {x: X})
print("hidden", activations.shape, f"largest {np.abs(activations).max():.3f}")
undecided = gt.run(loss, {logits: np.zeros((200, 10)), y: labels})
print(f"loss of ten equal logits {float(undecided):.6f}, log 10 is {np.log(10):.6f}")
assert activations.shape == (200, 32) and np.abs(activations).max() <= 1.0
assert abs(float(undecided) - np.log(10)) < 1e-12

# %% [markdown]
# ## A mistake, made on purpose
#
# Shapes are checked when the node is made, not when it runs; the message names your line.

# %%
try:
    hidden @ w
except gt.backend.errors.ShapeError as error:
    message = str(error)
    print(message)
assert message.splitlines()[0] == "matmul: the inner sizes differ, 32 and 64"
assert "01_the_graph.py:" in message

# %% [markdown]
# ## Eager, to find a NaN
#
# A net that learned NaN tells nobody where it came from. In `gt.eager()` the same ops run at once,
# and the first that makes NaN or infinity from finite numbers stops with its name and its line.
# Here a probability of exactly 0 meets a logarithm.

# %%
try:
    with gt.eager():
        scores = gt.constant(np.array([[0.0, -800.0]]))
        gt.log(gt.softmax(scores))                                 # exp(-800) is 0 in float64
except gt.backend.errors.NonFiniteError as error:
    message = str(error)
    print(message)
assert message.startswith("log: NaN or infinity from finite numbers")
assert "01_the_graph.py:" in message

# %% [markdown]
# The cure is to take both together, which subtracts instead of dividing:

# %%
with gt.eager():
    log_probabilities = gt.log_softmax(gt.constant(np.array([[0.0, -800.0]])))
print(log_probabilities.numpy())
assert np.array_equal(log_probabilities.numpy(), [[0.0, -800.0]])

# %% [markdown]
# ## Gradients of gradients
#
# Gradients are graph, so they can be differentiated again. For `tanh` the second derivative is
# `-2 tanh (1 - tanh^2)`.

# %%
t = gt.placeholder((5,), "float64")
(once,) = gt.gradients(gt.tanh(t).sum(), [t])
(twice,) = gt.gradients(once.sum(), [t])
points = np.linspace(-2, 2, 5)
got = gt.run(twice, {t: points})
want = -2 * np.tanh(points) * (1 - np.tanh(points) ** 2)
print("second derivatives", got.round(6))
assert np.abs(got - want).max() < 1e-12

# %% [markdown]
# The same trick gives a Hessian times a vector without a Hessian: differentiate the slope along the
# vector. Checked by a central difference of the gradient of our net.

# %%
direction = rng.standard_normal((32, 10))
(along,) = gt.gradients((slopes[2] * direction).sum(), [v])         # v is logits/kernel
curvature = gt.function([x, y], along)(X, labels)
slope_of = gt.function([x, y, v], slopes[2])                       # a variable can be fed as well
here, small = v.numpy(), 1e-5
numeric = (slope_of(X, labels, here + small * direction)
           - slope_of(X, labels, here - small * direction)) / (2 * small)
print(f"Hessian times vector: largest entry {np.abs(curvature).max():.4f}, "
      f"off by {np.abs(curvature - numeric).max():.1e}")
assert np.abs(curvature - numeric).max() < 1e-7 * max(1.0, np.abs(numeric).max())

# %% [markdown]
# ## Two devices
#
# `gt.device` says where ops are computed. On a CPU, `cpu:0` and `cpu:1` are groups of threads. Here
# is the net again, half of it on each; one copy carries `hidden` over, and one its gradient back.

# %%
with gt.device("cpu:0"):
    near = [gt.variable(first["hidden/kernel"]), gt.variable(first["hidden/bias"])]
    middle = gt.tanh(x @ near[0] + near[1])
with gt.device("cpu:1"):
    far = [gt.variable(first["logits/kernel"]), gt.variable(first["logits/bias"])]
    end = gt.softmax_cross_entropy(middle @ far[0] + far[1], y).mean()
both = near + far
halves = gt.function([x, y], end, updates={
    p: p - RATE * g for p, g in zip(both, gt.gradients(end, both))})
for _ in range(STEPS):
    halves(X, labels)
on_two = dict(zip(first, (p.numpy() for p in both)))
plan = halves.plan()
print(plan)
print(f"largest difference of a weight from one device: {difference(on_two, on_graph):.1e}")
assert plan.moved_bytes == 8 * 2 * 200 * 32 + labels.nbytes
assert difference(on_two, on_graph) < 1e-10

# %% [markdown]
# ## Exercises
#
# 1. Add a penalty of `1e-3` times the sum of squares of `w` to the loss. What is added to its
#    gradient?
# 2. Write momentum: a velocity `u` with `u <- 0.9 u - RATE * g` and `v <- v + u`.
# 3. Find the pixel of the first image that would change the loss most.
#
# Answers:

# %%
penalised = loss + 1e-3 * (w * w).sum()
more = gt.function([x, y], [gt.gradients(penalised, [w])[0], slopes[0]])
with_penalty, without = more(X, labels)
print(f"1. 2e-3 w, to within {np.abs(with_penalty - without - 2e-3 * w.numpy()).max():.1e}")
assert np.abs(with_penalty - without - 2e-3 * w.numpy()).max() < 1e-12

u = gt.variable(np.zeros((32, 10)), name="velocity")
faster = 0.9 * u - RATE * slopes[2]
momentum = gt.function([x, y], loss, updates={u: faster, v: v + faster})
path = [float(momentum(X, labels)) for _ in range(10)]
print(f"2. loss {path[0]:.4f} -> {path[-1]:.4f}: updates are simultaneous, so v uses the new u by "
      "using its node")
assert path[-1] < path[0]

(by_pixel,) = gt.gradients(loss, [x])
saliency = np.abs(gt.run(by_pixel, {x: X, y: labels})[0].reshape(8, 8))
row, column = np.unravel_index(saliency.argmax(), (8, 8))
print(f"3. the pixel in row {row}, column {column}")
assert saliency.max() > 0

# %% [markdown]
# To go on reading: `backend/tensor.py` makes nodes, `backend/gradients.py` is the reverse sweep,
# and `training/steps.py` builds the step that the `Trainer` ran. What a beginner sees of all this
# is in `../beginner/02_digits.py`.

# %%
print("Done: 01_the_graph")
