"""What each rank runs: scikit-learn's checks of estimators, one in so many; none may fail."""
import sys
import warnings

from sklearn.utils.estimator_checks import estimator_checks_generator

import gradatim as gt
from gradatim.backend.distribute import world

SETTINGS = {"LinearClassifier": dict(epochs=60), "CNNClassifier": dict(epochs=15),
            "DNNClassifier": dict(hidden_layer_sizes=(16,), epochs=100)}

warnings.simplefilter("ignore")
every = int(sys.argv[1])
for first, name in enumerate(sys.argv[2:]):
    checks = list(estimator_checks_generator(getattr(gt, name)(**SETTINGS[name]), legacy=True))
    for estimator, check in checks[first::every]:
        check(estimator)
    world().barrier()
    if world().rank == 0:
        print(name, len(checks))
