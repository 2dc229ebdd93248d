"""Replay: the calls of a run, recorded as few graphs once they have run one by one."""
from __future__ import annotations

from typing import Iterator

import numpy as np

from ..base import finished

RECORDED = 3         # the run that is recorded: those before compile, load and tune what they call
TOGETHER, CALLS = 32, 256      # runs of one graph, and about how many calls it may have for that


class Stretch:
    """Calls between two places where a graph has to end."""

    def __init__(self, captured: bool = True):
        self.calls: list = []
        self.meeting = None                        # what replicas exchange on the host at its end
        self.captured, self.recorded = captured, None

    def queue(self) -> None:
        """All calls, one by one."""
        for call in self.calls:
            call()


class Meeting:
    """Where replicas meet on the host: a node, and the addresses of its input and output."""

    def __init__(self, node, source: int, target: int):
        self.node, self.source, self.target = node, source, target


class Replay:
    """Calls in their order.

    Parameters
    ----------
    device : Device
        Where they are queued.
    calls : list of callable or Meeting
        Those whose attribute ``captured`` is False are left out of graphs. What one with the
        attribute ``aside`` queues runs beside those behind it, up to the device's ``join``.
    """

    def __init__(self, device, calls: list):
        self.device, self._runs = device, 0
        self._together, self._several = min(TOGETHER, CALLS // max(len(calls), 1)), None
        self.stretches, forked = [Stretch()], False
        for call in calls:
            last = self.stretches[-1]
            meets = isinstance(call, Meeting)
            if forked and (meets or getattr(call, "captured", True) != last.captured):
                last.calls.append(device.join)         # a graph ends whole
                forked = False
            forked = getattr(call, "aside", False) or forked and call != device.join
            if meets:
                last.meeting = call
                self.stretches.append(Stretch())
            elif getattr(call, "captured", True) == last.captured:
                last.calls.append(call)
            else:
                self.stretches.append(Stretch(not last.captured))
                self.stretches[-1].calls.append(call)

    def run(self) -> Iterator:
        """All calls once; stops where replicas meet on the host, as `Program.stretches` does."""
        self._runs += 1
        for stretch in self.stretches:
            with self.device.here():
                if self._runs == RECORDED and stretch.captured and stretch.calls:
                    stretch.recorded = self.device.record(stretch.queue)
                (stretch.recorded or stretch.queue)()
            if stretch.meeting is None:
                continue
            meeting = stretch.meeting              # not here: another thread may be who comes
            node = meeting.node
            array = np.empty(node.inputs[0].shape, node.inputs[0].dtype)
            self.device.download(array, meeting.source)
            made = yield node, array, array
            self.device.upload(meeting.target, np.ascontiguousarray(made, node.outputs[0].dtype))

    def times(self, count: int, communicator=None) -> None:
        """So many runs; several are one graph where nothing stops them."""
        while count:
            if self._several and count >= self._together:
                with self.device.here():
                    self._several()
                count -= self._together
                continue
            finished(self.run(), communicator)
            count -= 1
            if communicator is not None:
                communicator.step += 1
            elif self._runs == RECORDED and self._together > 1 and \
                    len(self.stretches) == 1 and self.stretches[0].recorded:
                with self.device.here():
                    self._several = self.device.record(self._queue_several)

    def _queue_several(self) -> None:
        for _ in range(self._together):
            self.stretches[0].queue()
