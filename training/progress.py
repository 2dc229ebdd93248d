"""The progress bar: one tqdm bar per fit with loss, metrics, rate and time left."""
from __future__ import annotations

import time


class Progress:
    """A bar over all steps of a fit; silent when ``verbose`` is 0.

    The postfix is refreshed about ten times a second, so that tiny steps are not slowed down.
    """

    def __init__(self, total: int, verbose: int, label: str):
        self.bar, self.last, self.waiting = None, 0.0, 0
        if verbose:
            from tqdm.auto import tqdm
            self.bar = tqdm(total=total, desc=label, unit="step", dynamic_ncols=True)

    def step(self, logs) -> None:
        """One step is done; ``logs`` is a callable that gives the numbers to show."""
        if self.bar is None:
            return
        self.waiting += 1
        now = time.monotonic()
        if now - self.last >= 0.1:
            self._show(logs())
            self.last = now

    def epoch(self, number: int, epochs: int, logs: dict) -> None:
        """An epoch is done: show its exact numbers."""
        if self.bar is not None:
            self.bar.set_description(f"epoch {number + 1}/{epochs}", refresh=False)
            self._show(logs)

    def _show(self, logs: dict) -> None:
        self.bar.set_postfix({k: f"{v:.4g}" for k, v in logs.items()}, refresh=False)
        self.bar.update(self.waiting)
        self.waiting = 0

    def close(self) -> None:
        """Finish the bar, also after an error."""
        if self.bar is not None:
            self.bar.update(self.waiting)
            self.bar.close()
