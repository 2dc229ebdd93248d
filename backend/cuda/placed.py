"""PlacedProgram on GPUs: parts run one after another for the host alone, and meet in GPU memory."""
from __future__ import annotations

import numpy as np

from .. import placed
from ..tensor import Tensor
from .state import DeviceArray


class PlacedProgram(placed.PlacedProgram):
    """A program per part. The host queues all of them and waits once, for what is returned.

    So independent parts run at the same time, and a copy between two GPUs beside what it does not
    wait for.
    """

    def compute(self, state: list, values: dict) -> None:
        leases: list = []
        try:
            for i in range(len(self.parts)):
                leases.append(self._queue(i, state, values))
            for lease in leases:
                lease.complain()
            # The memory is another run's next. Outputs go to the host, weights stay where they are.
            for t in self._outputs:
                if isinstance(values.get(t), DeviceArray):
                    values[t] = np.asarray(values[t])
            for t in self._updates.values():
                if isinstance(values.get(t), DeviceArray):
                    values[t].move()
        finally:
            for lease in leases:
                lease.give_back()

    def _queue(self, i: int, state: list, values: dict[Tensor, object]):
        """Queue a part; what it makes is left in its memory, which is returned."""
        part, variables = self.parts[i], self.parts[i].graph.variables
        own = [state[self.place[v]] for v in variables]
        lease = self.programs[i].queue(own, [values[t] for t in part.feeds])
        values.update(zip(part.graph.outputs, lease.arrays()))
        for v, value in zip(variables, own):
            if v in part.graph.updates:
                state[self.place[v]] = value
        return lease
