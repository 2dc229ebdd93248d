"""Small sets that come with scikit-learn: nothing to download."""
from __future__ import annotations

_KEPT = ("data", "target", "feature_names", "target_names", "images", "DESCR")


def load_digits():
    """1,797 handwritten digits of 8 by 8 grey pixels, ten classes.

    Returns
    -------
    Bunch
        ``data`` float64 (1797, 64) from 0 to 16, ``images`` the same as (1797, 8, 8), ``target``
        int64 (1797,), ``feature_names``, ``target_names``, ``DESCR``.

    Examples
    --------
    >>> from gradatim.datasets import load_digits
    >>> load_digits().images.shape
    (1797, 8, 8)
    """
    return _bundled("digits")


def load_diabetes():
    """442 patients, ten measurements, and the progression of their disease: regression.

    Returns
    -------
    Bunch
        ``data`` float64 (442, 10), ``target`` float64 (442,) from 25 to 346, ``feature_names``,
        ``target_names``, ``DESCR``.

    Examples
    --------
    >>> from gradatim.datasets import load_diabetes
    >>> load_diabetes().data.shape
    (442, 10)
    """
    return _bundled("diabetes", target_names=["progression"])


def load_iris():
    """150 flowers of three species, four lengths each, in centimetres.

    Returns
    -------
    Bunch
        ``data`` float64 (150, 4), ``target`` int64 (150,), ``feature_names``, ``target_names``,
        ``DESCR``.

    Examples
    --------
    >>> from gradatim.datasets import load_iris
    >>> [str(name) for name in load_iris().target_names]
    ['setosa', 'versicolor', 'virginica']
    """
    return _bundled("iris")


def load_wine():
    """178 wines of three growers, thirteen chemical measurements each.

    Returns
    -------
    Bunch
        ``data`` float64 (178, 13), ``target`` int64 (178,), ``feature_names``, ``target_names``,
        ``DESCR``.

    Examples
    --------
    >>> from gradatim.datasets import load_wine
    >>> load_wine().data.shape
    (178, 13)
    """
    return _bundled("wine")


def load_breast_cancer():
    """569 tumours, malignant or benign, thirty measurements each.

    Returns
    -------
    Bunch
        ``data`` float64 (569, 30), ``target`` int64 (569,), ``feature_names``, ``target_names``,
        ``DESCR``.

    Examples
    --------
    >>> from gradatim.datasets import load_breast_cancer
    >>> load_breast_cancer().data.shape
    (569, 30)
    """
    return _bundled("breast_cancer")


def _bundled(name: str, **more):
    """scikit-learn's set without the entries that speak of scikit-learn's own files."""
    from sklearn import datasets
    from sklearn.utils import Bunch
    bunch = getattr(datasets, f"load_{name}")()
    return Bunch(**{key: bunch[key] for key in _KEPT if key in bunch}, **more)
