"""Handwritten digits: a linear model, then a small convolutional net that sees shapes."""
# %% [markdown]
# # Digits: from a linear model to a net that sees
#
# 1,797 handwritten digits come with scikit-learn: grey images of 8 by 8 pixels, and which digit
# each one is. We teach two models to read them. It takes about 20 seconds on any computer.

# %%
from gradatim import LinearClassifier
from gradatim.datasets import load_digits
digits = load_digits()
first = LinearClassifier(random_state=0).fit(digits.data, digits.target)
print("the first ten digits, as the model reads them:", *first.predict(digits.data[:10]))

# %%
import os

import numpy as np
from sklearn.model_selection import train_test_split

FAST = bool(os.environ.get("FAST"))      # the tests of gradatim set it: less training, less to show
assert np.sum(first.predict(digits.data[:10]) == np.arange(10)) == 9

# %% [markdown]
# They are 0 to 9 in order, and it takes the 5 for a 9: a model need not know even the samples it
# learned from. We shall do better.
# %% [markdown]
# ## Look at the data first
#
# An image is a table of numbers, 0 for white paper and 16 for full ink. Here is one, as text.

# %%
for row in digits.images[3]:
    print("".join(" .:-=+*#@"[int(ink) // 2] * 2 for ink in row))
print("this is a", digits.target[3])
assert digits.images.shape == (1797, 8, 8) and digits.images.max() == 16

# %% [markdown]
# ## Set some aside
#
# A model that has learned its samples by heart knows nothing about others. So a quarter of the
# digits is put away, and only used to judge. `random_state` makes the choice the same every time,
# and `stratify` gives every digit its share.

# %%
images_train, images_test, y_train, y_test = train_test_split(
    digits.images, digits.target, test_size=0.25, random_state=0, stratify=digits.target)
X_train, X_test = (a.reshape(len(a), 64) for a in (images_train, images_test))  # pixels in a row
print(len(y_train), "digits to learn from,", len(y_test), "to judge by")
assert (len(y_train), len(y_test)) == (1347, 450)

# %% [markdown]
# ## What costs nothing
#
# Always answering with the most frequent digit is right one time in ten. A model has to beat that.

# %%
most_frequent = np.bincount(y_train).argmax()
naive = np.mean(y_test == most_frequent)
print(f"always answering {most_frequent}: {naive:.1%} right")
assert naive < 0.11

# %% [markdown]
# ## A linear model
#
# It has a weight for each pixel and each digit: ink here speaks for a 3, ink there against it. The
# weights start at zero, and each *step* of training shifts them a little so that the right answers
# become more likely. One *epoch* is one pass over all training samples.

# %%
linear = LinearClassifier(epochs=20 if FAST else "auto", random_state=0).fit(X_train, y_train)
linear_accuracy = linear.score(X_test, y_test)
print(f"linear model: {linear_accuracy:.1%} right, after {len(linear.history_)} epochs")
assert linear_accuracy >= (0.85 if FAST else 0.95)

# %% [markdown]
# ## Watching it learn
#
# `history_` holds the *loss* of each epoch: the average surprise at the right answer, in nats. A
# guess among ten costs 2.3, the natural logarithm of 10.

# %%
losses = [epoch["loss"] for epoch in linear.history_]
for epoch in sorted({0, len(losses) // 8, len(losses) // 2, len(losses) - 1}):
    print(f"epoch {epoch + 1:>3}  loss {losses[epoch]:.3f}  {'#' * round(20 * losses[epoch])}")
assert losses[0] < np.log(10) + 0.2 and losses[-1] < losses[0] / 2

# %% [markdown]
# ## A mistake, made on purpose
#
# A convolutional net wants images. Rows of pixels do not say how wide the image was, so we have to
# tell; and 64 pixels are not 7 by 7.

# %%
from gradatim import CNNClassifier

try:
    CNNClassifier(image_shape=(7, 7)).fit(X_train, y_train)
except ValueError as error:
    message = str(error)
    print(message)
assert message.startswith("rows do not hold images of image_shape")
assert "fix  image_shape must multiply to 64" in message

# %% [markdown]
# Every error of gradatim says what is wrong, what it got, and what to do. With `(8, 8)`, or simply
# with images instead of rows, all is well.
#
# ## A net that sees
#
# A linear model cannot know that pixel 12 is beside pixel 13. A *convolution* looks through a small
# window, 3 by 3 pixels, and slides it over the image: what it learns to see in one place it sees
# everywhere. Two layers of them, and a vote at the end:

# %%
net = CNNClassifier(epochs=4 if FAST else 15, batch_size=64, learning_rate=4e-3, random_state=0)
net.fit(images_train, y_train)
net_accuracy = net.score(images_test, y_test)
print(f"convolutional net: {net_accuracy:.1%} right")
assert net_accuracy >= (0.95 if FAST else 0.985)
assert net_accuracy > linear_accuracy

# %% [markdown]
# What is in it? `summary()` shows each layer, what comes out of it, and how many numbers it learns.
# (Before it, in `network_.layers[0]`, pixels are divided by their range.)

# %%
summary = net.network_.layers[-1].summary()
print(summary)
assert summary.count("(Conv2D)") == 2

# %% [markdown]
# ## Where is it unsure?
#
# `predict_proba` gives a probability for each digit. The least sure answer may be a digit that you
# would have to look at twice yourself.

# %%
probabilities = net.predict_proba(images_test)            # (450, 10), each row sums to one
sure = probabilities.max(axis=1)
doubtful = sure.argmin()
for row in images_test[doubtful]:
    print("".join(" .:-=+*#@"[int(ink) // 2] * 2 for ink in row))
best, second = np.argsort(probabilities[doubtful])[::-1][:2]
print(f"{best} ({probabilities[doubtful, best]:.0%}) or {second} "
      f"({probabilities[doubtful, second]:.0%})? It is {y_test[doubtful]}")
assert np.allclose(probabilities.sum(axis=1), 1.0)
right = net.predict(images_test) == y_test
assert sure[right].mean() > 0.9

# %% [markdown]
# ## Exercises
#
# 1. Which digit does the linear model miss most often?
# 2. Show the net only 200 digits. How good is it?
# 3. Move every test image one pixel to the right. Which of the two models minds less?
#
# Answers:

# %%
wrong = np.bincount(y_test[linear.predict(X_test) != y_test], minlength=10)
print(f"1. the {wrong.argmax()}: {wrong.max()} times of {np.sum(y_test == wrong.argmax())}")
assert wrong.sum() == round((1 - linear_accuracy) * len(y_test))

few = CNNClassifier(epochs=15 if FAST else 40, random_state=0)
few.fit(images_train[:200], y_train[:200])
few_accuracy = few.score(images_test, y_test)
print(f"2. {few_accuracy:.1%}: more data would help more than any cleverness")
assert 0.7 < few_accuracy < net_accuracy

shifted = np.roll(images_test, 1, axis=2)
shifted[:, :, 0] = 0
moved = {"linear": linear.score(shifted.reshape(-1, 64), y_test), "net": net.score(shifted, y_test)}
print(f"3. moved by a pixel: linear {moved['linear']:.1%}, net {moved['net']:.1%}")
assert moved["net"] > moved["linear"]

# %% [markdown]
# How gradients, layers and training work underneath, down to the matrix product, is told in
# `../expert/01_the_graph.py`.

# %%
print("Done: 02_digits")
