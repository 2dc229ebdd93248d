"""The progress bar: one tqdm bar per fit with loss, metrics and time left."""
from __future__ import annotations

import time
from typing import Callable


# A bar of fixed width: the line neither jumps nor pushes the numbers off an 80-column screen.
LINE = "   {desc} {percentage:3.0f}%|{bar:10}| {n_fmt}/{total_fmt} {elapsed}<{remaining}{postfix}"


class Progress:
    """A bar over all steps of a fit, on the error stream; silent when ``verbose`` is 0.

    The numbers are refreshed about ten times a second, so that tiny steps are not slowed down.
    """

    def __init__(self, epochs: int, steps: int, verbose: int):
        self.bar, self.epochs, self.last, self.waiting = None, epochs, 0.0, 0
        if verbose:
            from tqdm.auto import tqdm
            self.bar = tqdm(total=epochs * steps, bar_format=LINE, dynamic_ncols=True)

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
        width = len(str(self.epochs))
        self.bar.set_description_str(f"epoch {epoch + 1:>{width}}/{self.epochs}", refresh=False)
        self.bar.set_postfix({k: f"{v:#.3g}" for k, v in logs.items() if k != "learning_rate"},
                             refresh=False)
        self.bar.update(self.waiting)
        self.waiting = 0

    def close(self, epoch: int, logs: dict) -> None:
        """Finish the bar, also after an error."""
        if self.bar is not None:
            self.show(epoch, logs)
            self.bar.close()
