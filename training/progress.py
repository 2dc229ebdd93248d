"""The progress bar: one tqdm bar per fit with loss, metrics, rate and time left."""
from __future__ import annotations

import time
from typing import Callable


class Progress:
    """A bar over all steps of a fit, on the error stream; silent when ``verbose`` is 0.

    The numbers are refreshed about ten times a second, so that tiny steps are not slowed down.
    """

    def __init__(self, epochs: int, steps: int, verbose: int):
        self.bar, self.epochs, self.last, self.waiting = None, epochs, 0.0, 0
        if verbose:
            from tqdm.auto import tqdm
            self.bar = tqdm(total=epochs * steps, unit="step", dynamic_ncols=True)

    def step(self, epoch: int, logs: Callable[[], dict]) -> None:
        """One step is done; ``logs`` gives the numbers to show, if it is time to."""
        if self.bar is None:
            return
        self.waiting += 1
        now = time.monotonic()
        if now - self.last >= 0.1:
            self.last = now
            self.show(epoch, logs())

    def show(self, epoch: int, logs: dict) -> None:
        """Bring the bar up to date."""
        self.bar.set_description(f"epoch {epoch + 1}/{self.epochs}", refresh=False)
        self.bar.set_postfix({k: f"{v:.4g}" for k, v in logs.items()}, refresh=False)
        self.bar.update(self.waiting)
        self.waiting = 0

    def close(self, epoch: int, logs: dict) -> None:
        """Finish the bar, also after an error."""
        if self.bar is not None:
            self.show(epoch, logs)
            self.bar.close()
