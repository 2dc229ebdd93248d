"""What each rank runs: scikit-learn's checks of estimators, by name; none is expected to fail."""
import sys
import warnings

from sklearn.utils.estimator_checks import check_estimator

import gradatim as gt
from gradatim.backend.distribute import world

SETTINGS = {"LinearClassifier": dict(epochs=60), "CNNClassifier": dict(epochs=15),
            "DNNClassifier": dict(hidden_layer_sizes=(16,), epochs=100)}

warnings.simplefilter("ignore")
for name in sys.argv[1:]:
    done = check_estimator(getattr(gt, name)(**SETTINGS[name]), on_skip=None, on_fail="raise")
    passed = [check["check_name"] for check in done if check["status"] == "passed"]
    world().barrier()
    if world().rank == 0:
        print(name, len(passed))
