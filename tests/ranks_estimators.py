"""What each rank runs: scikit-learn's checks of one estimator, by name, with nothing expected to fail."""
import sys
import warnings

from sklearn.utils.estimator_checks import check_estimator

import gradatim as gt
from gradatim.backend.distribute import launched, world

warnings.simplefilter("ignore")
team = world() if launched() > 1 else None
for name in sys.argv[1:]:
    model = getattr(gt, name)()
    done = check_estimator(model, on_skip=None, on_fail="raise")
    passed = [c["check_name"] for c in done if c["status"] == "passed"]
    assert len(passed) > 30, passed
    if team is not None:
        team.barrier()
    if team is None or team.rank == 0:
        print(name, len(passed))
