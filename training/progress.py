"""The progress bar: one tqdm bar per fit with loss, metrics, time left and speed."""
from __future__ import annotations

import time
from typing import Callable

# A bar of fixed width: the line does not jump while the numbers beside it change.
LINE = "   {desc} {percentage:3.0f}%|{bar:10}| {n_fmt}/{total_fmt} {elapsed}<{remaining}{postfix}"


class Progress:
    """A bar over all steps of a fit, on the error stream; silent when ``verbose`` is 0.

    The numbers are refreshed about ten times a second, so that tiny steps are not slowed down.
    """

    def __init__(self, epochs: int, steps: int, verbose: int, done: int = 0):
        self.bar, self.epochs, self.last, self.done = None, epochs, 0.0, done
        if verbose:
            from tqdm.auto import tqdm
            self.bar = tqdm(total=epochs * steps, bar_format=LINE, dynamic_ncols=True,
                            initial=done)

    def step(self, epoch: int, logs: Callable[[], dict], steps: int = 1) -> None:
        """So many more steps are done; ``logs`` gives the numbers to show, if it is time to."""
        if self.bar is None:
            return
        self.done += steps
        now = time.monotonic()
        if now - self.last >= 0.1:
            self.last = now
            self.show(epoch, logs())

    def show(self, epoch: int, logs: dict) -> None:
        """Bring the bar up to date."""
        bar, width = self.bar, len(str(self.epochs))
        bar.n = self.done
        bar.set_description_str(f"epoch {epoch + 1:>{width}}/{self.epochs}", refresh=False)
        bar.set_postfix_str("", refresh=False)
        screen, elapsed = bar.format_dict["ncols"], bar.format_dict["elapsed"]
        room = screen - len(str(bar)) - 1 if isinstance(screen, int) else None
        rate = self.done / max(elapsed, 1e-9)
        speed = f"{rate:,.0f} steps/s" if rate >= 100 else f"{rate:.3g} steps/s"
        bar.set_postfix_str(numbers(logs, speed, room), refresh=False)
        bar.refresh()

    def close(self, epoch: int, logs: dict) -> None:
        """Finish the bar, also after an error."""
        if self.bar is not None:
            self.show(epoch, logs)
            self.bar.close()


def numbers(logs: dict, speed: str, room: int | None) -> str:
    """Loss, metrics and speed, as many as fit whole; where room is short, names are initials.

    ``room`` is None where a line may have any length.
    """
    values = {name: f"{v:#.3g}" for name, v in logs.items() if name != "learning_rate"}
    line = ""
    for shorten in (str, initials):
        parts = [f"{shorten(name)}={value}" for name, value in values.items()]
        line = ", ".join(parts)
        if room is None or len(line) + 2 <= room:
            break
    while parts and room is not None and len(line) + 2 > room:
        line = ", ".join(parts := parts[:-1])
    if room is None or len(line) + len(speed) + 4 <= room:
        line = ", ".join(filter(None, (line, speed)))
    return line


def initials(name: str) -> str:
    """``mae`` for ``mean_absolute_error``, ``val_mae`` for its value on validation data."""
    words = name.removeprefix("val_").split("_")
    prefix = "val_" if name.startswith("val_") else ""
    return prefix + ("".join(word[0] for word in words if word) if len(words) > 2 else
                     "_".join(words))
