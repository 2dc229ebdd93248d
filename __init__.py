"""gradatim: Keras-style estimators for scikit-learn pipelines, on layers, on one graph.

* estimators, with `fit`, `predict` and `score`: ``help(gradatim.estimators)``
* layers, losses and initializers for nets of your own: ``help(gradatim.layers)``
* `Trainer`, which fits them, optimizers, metrics and callbacks: ``help(gradatim.training)``
* `placeholder`, `variable`, `gradients`, `function` and the ops: ``help(gradatim.backend)``
* data sets to try all that on: ``help(gradatim.datasets)``

Examples
--------
>>> from gradatim import LinearClassifier
>>> from gradatim.datasets import load_iris
>>> iris = load_iris()
>>> model = LinearClassifier(random_state=0).fit(iris.data, iris.target)
>>> bool(model.score(iris.data, iris.target) > 0.95)
True
"""
__version__ = "0.1.0"

# Where each public name lives. Nothing is imported before it is asked for: `import gradatim`
# costs next to nothing, and a user of the graph alone never loads scikit-learn.
_HOMES = {
    "backend": (
        "placeholder constant variable gradients function run graph eager device "
        "Graph Tensor Variable Spec op get_backend register_backend"),
    "backend.distribute": "DataParallel Mirrored",
    "estimators": (
        "load LinearRegressor LinearClassifier DNNClassifier DNNRegressor CNNClassifier "
        "CNNRegressor RNNClassifier RNNForecaster RNNRegressor TextGenerator FeatureEncoder "
        "TextVectorizer BaselineClassifier BaselineRegressor BaselineForecaster "
        "RNNTagger Autoencoder ImageReader "
        "NetworkClassifier NetworkRegressor WideAndDeepClassifier WideAndDeepRegressor"),
    "layers": "Input Model Sequential",
    "training": "Trainer",
}
_ROOMS = ("backend", "datasets", "estimators", "layers", "testing", "training")
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names.split()}


def __getattr__(name):
    from importlib import import_module
    if name in _ROOMS:
        return import_module(f".{name}", __name__)
    if name in _HOME_OF:
        return getattr(import_module(f".{_HOME_OF[name]}", __name__), name)
    if not name.startswith("_"):
        ops = import_module(".backend", __name__).OPS
        if name in ops:
            return ops[name]
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__():
    from .backend import OPS
    return sorted({"__version__", *_ROOMS, *_HOME_OF, *OPS})
