"""Your first model in five lines: a line through points, then a disease in numbers."""
# %% [markdown]
# # Your first model: linear regression
#
# No knowledge is needed but a little Python. Run this file as it is, or cell by cell in an editor
# that knows `# %%`. Nothing is downloaded, and all of it takes a few seconds.
#
# Here are the five lines.

# %%
from gradatim import LinearRegressor
from gradatim.datasets import make_line
X, y = make_line(200, slope=2.0, intercept=1.0, noise=0.05)
model = LinearRegressor().fit(X, y)
print(f"y = {model.coef_[0]:.3f} x + {model.intercept_:.3f}")

# %% [markdown]
# That was a model. The points were made by the rule `y = 2 x + 1` with a little noise on top, and
# the model, which never saw the rule, found it again. How close? Within one in a hundred:

# %%
slope_error = abs(model.coef_[0] - 2.0) / 2.0
print(f"the slope is off by {slope_error:.2%}")
assert slope_error < 0.01
assert abs(model.intercept_ - 1.0) < 0.01

# %% [markdown]
# ## What X and y are
#
# `y` is what we want to predict: one number per sample. `X` is what we know: a table with a row for
# each sample and a column for each thing we measured. Here there is one column.

# %%
print("X", X.shape, " y", y.shape)
assert X.shape == (200, 1) and y.shape == (200,)

# %% [markdown]
# ## Predicting
#
# `predict` takes a table like X. At `x = 3` the rule says 7.

# %%
prediction = model.predict([[3.0]])[0]
print(f"at x = 3 the model says {prediction:.2f}")
assert abs(prediction - 7.0) < 0.07

# %% [markdown]
# ## A mistake, made on purpose
#
# Everybody forgets once that X is a table, and passes a plain list of numbers. See what happens:

# %%
try:
    model.predict([3.0])
except ValueError as error:
    message = str(error)
    print(message)
assert "Expected 2D array, got 1D array instead" in message
assert "reshape(-1, 1)" in message

# %% [markdown]
# The message names the cure: two pairs of brackets, `[[3.0]]`, make a table of one row.
#
# ## Real data
#
# 442 people with diabetes: ten measurements each, and how far the disease had gone a year later.
# Some people are set aside. A model is judged only by people it has not seen.

# %%
from gradatim.datasets import load_diabetes

data = load_diabetes()
X_train, X_test = data.data[:342], data.data[342:]
y_train, y_test = data.target[:342], data.target[342:]
model = LinearRegressor().fit(X_train, y_train)
r2 = model.score(X_test, y_test)
print(f"R² on people the model has not seen: {r2:.4f}")
assert r2 > 0.5

# %% [markdown]
# `score` is R²: 1 is perfect, 0 is no better than always answering the average.
#
# ## Is that right?
#
# scikit-learn has a linear regression too. The two must agree, and they do. Estimators of gradatim
# and of scikit-learn have the same methods and can stand in for each other anywhere.

# %%
from sklearn.linear_model import LinearRegression

theirs = LinearRegression().fit(X_train, y_train).score(X_test, y_test)
print(f"ours {r2:.6f}, scikit-learn's {theirs:.6f}")
assert abs(r2 - theirs) < 1e-3

# %% [markdown]
# ## How sure is it?
#
# Each coefficient has a standard error: another 342 people would have given another number, about
# that far away. A coefficient less than two standard errors from 0 may well be 0.

# %%
for name, coefficient, error in zip(data.feature_names, model.coef_, model.standard_errors_):
    star = "  *" if abs(coefficient) > 2 * error else ""
    print(f"{name:>4} {coefficient:9.1f} ± {error:6.1f}{star}")
certain = [name for name, c, e in zip(data.feature_names, model.coef_, model.standard_errors_)
           if abs(c) > 2 * e]
assert {"bmi", "bp"} <= set(certain)

# %% [markdown]
# ## Keep it
#
# One file, which holds data and no code: opening one that came from a stranger runs nothing.

# %%
import os
import tempfile

import gradatim
import numpy as np

with tempfile.TemporaryDirectory() as folder:
    path = os.path.join(folder, "diabetes.h5")
    model.save(path)
    again = gradatim.load(path)
assert np.array_equal(again.predict(X_test), model.predict(X_test))
print("saved, loaded, and the same to the last bit")

# %% [markdown]
# ## Exercises
#
# 1. Make the noise ten times as large. How far is the slope off now?
# 2. Pull the coefficients towards 0 with `LinearRegressor(alpha=...)`. Is there an `alpha` that
#    makes R² on unseen people better?
# 3. Ask `predict` for `return_std=True`. How many people fall within two standard deviations?
#
# Answers:

# %%
X, y = make_line(200, slope=2.0, intercept=1.0, noise=0.5)
noisy = LinearRegressor().fit(X, y)
print(f"1. slope {noisy.coef_[0]:.3f} ± {noisy.standard_errors_[0]:.3f}")
assert abs(noisy.coef_[0] - 2.0) < 3 * noisy.standard_errors_[0]

scores = {alpha: LinearRegressor(alpha=alpha).fit(X_train, y_train).score(X_test, y_test)
          for alpha in (0.0, 0.01, 0.1, 1.0)}
best = max(scores, key=scores.get)
print("2. R² by alpha: " + ", ".join(f"{alpha}: {score:.4f}" for alpha, score in scores.items()))
print("   342 people are enough for ten coefficients: pulling does not help here. Choosing by the\n"
      "   test people is cheating a little; scikit-learn's GridSearchCV chooses honestly")
assert best == 0.0 and scores[1.0] < r2 - 0.05

mean, std = model.predict(X_test, return_std=True)
inside = np.mean(abs(y_test - mean) < 2 * std)
print(f"3. {inside:.0%} of them: the textbook says about 95%")
assert 0.9 < inside <= 1.0

# %% [markdown]
# Next: `02_digits.py`, where the model sees. How a model like this is built from a matrix product
# is told in `../expert/01_the_graph.py`.

# %%
print("Done: 01_linear_regression")
