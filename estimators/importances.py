"""Importances: how much the score of an estimator owes to each column."""
from __future__ import annotations

import numpy as np
from sklearn.utils.validation import check_is_fitted

from ..backend.errors import ShapeError


class Importances:
    """An estimator that can tell which columns it uses."""

    _fit_may_set = ("feature_importances_",)

    def permutation_importances(self, X, y, *, n_repeats: int = 5, scoring=None, sample_weight=None,
                                random_state=0):
        """How much the score falls when one column of X is shuffled (Breiman 2001, section 10).

        The means are kept as ``feature_importances_``, which `SelectFromModel` and the like read,
        until another fit.

        Parameters
        ----------
        X : array-like or DataFrame (n, n_features)
            Samples, best ones that were not trained on.
        y : array-like
            Their targets.
        n_repeats : int
            How often each column is shuffled.
        scoring : str or callable, optional
            In place of `score`, by scikit-learn's names.
        sample_weight : array-like (n,), optional
            Weights of the samples in the score.
        random_state : int, RandomState or None
            Decides the shuffles.

        Returns
        -------
        Bunch
            ``importances_mean``, ``importances_std`` (n_features,), and ``importances``
            (n_features, n_repeats), as `sklearn.inspection.permutation_importance` returns them.

        Raises
        ------
        NotFittedError
            Before `fit`.
        ValueError
            If samples are no rows of features, or cannot be used.

        Examples
        --------
        >>> import numpy as np
        >>> from gradatim import DNNRegressor
        >>> X = np.random.default_rng(0).normal(size=(100, 3))
        >>> model = DNNRegressor(epochs=50, random_state=0).fit(X, X[:, 1])
        >>> int(model.permutation_importances(X, X[:, 1]).importances_mean.argmax())
        1
        """
        from sklearn.inspection import permutation_importance
        check_is_fitted(self)
        if getattr(X, "ndim", np.ndim(X) if not isinstance(X, list) else 2) != 2:
            raise ShapeError("only columns can be shuffled, and these samples have none",
                             got=f"X of shape {list(np.shape(X))}", fix="pass rows of features")
        found = permutation_importance(self, X, y, scoring=scoring, n_repeats=n_repeats,
                                       random_state=random_state, sample_weight=sample_weight)
        self.feature_importances_ = found.importances_mean
        return found
