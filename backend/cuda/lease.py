"""Lease: one run's memory, with every step bound to its addresses."""
from __future__ import annotations

from functools import cached_property
from typing import Iterator, Sequence
from weakref import ref

import numpy as np

from .complaint import WORDS
from .replay import Meeting, Replay
from .state import DeviceArray
from .stepping import Stepper
from .steps import ArrayStep, Join


class Lease:
    """Memory of one program for one run at a time; between runs the weights stay in it."""

    def __init__(self, program):
        self.program, self.device = program, program.device
        self.memory = self.device.allocate(max(program.bytes, 1))
        self.addresses = [self.memory.address + program.offsets.get(value, 0)
                          for value in range(len(program.values))]
        for value, array in program.constants:
            self.device.upload(self.addresses[value], array)
        self.calls = list(map(self._bound, program.steps))
        self._replay = Replay(self.device, self.calls)
        self._content: list = [None] * len(program.bound)     # what is in each variable's place
        self._rounding = [self.device.prepare(s, self.addresses) for s in program.rounding]

    def _bound(self, step):
        """What runs a step with its values where they are here."""
        device = self.device
        if isinstance(step, Join):
            return device.join
        if not isinstance(step, ArrayStep):
            return device.prepare(step, self.addresses)
        if not step.joint:
            return self._array_step(step)
        source, target = self.addresses[step.inputs[0]], self.addresses[step.outputs[0]]
        if not step.aside:
            return Meeting(step.node, source, target)
        queue = self.program.communicator.queue

        def collective() -> None:
            device.fork()
            queue(step.node, source, target, device.aside)

        collective.aside = True
        return collective

    @property
    def is_bare(self) -> bool:
        """Whether no variable's value lies here alone."""
        arrays = (content and content() for content in self._content)
        return not any(isinstance(a, DeviceArray) and a.memory is self.memory for a in arrays)

    # ---- what goes in --------------------------------------------------------------------------

    def load(self, state: list) -> None:
        """Bring the variables' values to their places, unless they are there."""
        fresh = False
        for i, (value, array) in enumerate(zip(self.program.bound, state)):
            content = self._content[i]
            if content is not None and content() is array:
                continue
            fresh = True
            self._leave(i)
            address = self.addresses[value]
            if isinstance(array, DeviceArray) and array.device is self.device and \
                    array.is_on_device:
                with self.device.here():
                    self.device.copy(address, array.address, array.nbytes)
                self._content[i] = ref(array)
            else:
                array = np.ascontiguousarray(array)
                self.device.upload(address, array)
                # Only what cannot change is known again.
                fixed = array.flags.owndata and not array.flags.writeable
                self._content[i] = ref(array) if fixed else None
        for i in self.program.updated:             # will be written over
            content = self._content[i] and self._content[i]()
            if isinstance(content, DeviceArray) and content.frozen:
                self._leave(i)
        for queue in self._rounding if fresh else ():
            with self.device.here():
                queue()

    def _leave(self, i: int) -> None:
        """Whoever holds the array that was made in this place keeps its value."""
        content = self._content[i] and self._content[i]()
        if isinstance(content, DeviceArray) and content.memory is self.memory:
            content.move()
        self._content[i] = None

    def feed(self, feeds: Sequence) -> None:
        """Bring what is fed to its place, from the host or from a device's memory."""
        for value, array in zip(self.program.fed, feeds):
            if isinstance(array, DeviceArray):
                self.device.receive(self.addresses[value], array.device, array.address,
                                    array.nbytes)
            else:
                self.device.upload(self.addresses[value], np.ascontiguousarray(array))

    # ---- running -------------------------------------------------------------------------------

    def stretches(self) -> Iterator:
        """All steps, as `Program.stretches` makes them."""
        return self._replay.run()

    @cached_property
    def stepper(self) -> Stepper:
        """What runs several steps in one call."""
        return Stepper(self)

    def _array_step(self, step):
        """A function that computes a node by the array module."""
        device = self.device
        inputs = [(self.addresses[v], t.shape, t.dtype) for v, t in
                  zip(step.inputs, step.node.inputs)]
        outputs = [(self.addresses[v], t.shape, t.dtype) for v, t in
                   zip(step.outputs, step.node.outputs)]

        def compute() -> None:
            arrays = [device.array(*place) for place in inputs]
            with np.errstate(all="ignore"), device.here():
                made = step.node.op.forward(device.xp, *arrays, **step.node.settings)
            for place, array in zip(outputs, made if len(outputs) > 1 else (made,)):
                device.array(*place)[...] = array

        compute.captured = False
        return compute

    # ---- what comes out ------------------------------------------------------------------------

    def arrays(self) -> list[DeviceArray]:
        """The outputs where they are, until the memory is given back."""
        return [DeviceArray(self.device, self.memory, self.addresses[value], spec.shape, spec.dtype)
                for value, spec in self.program.results]

    def give_back(self) -> None:
        """To the program, for its next run."""
        self.program.take_back(self)

    def results(self) -> list[np.ndarray]:
        """The outputs, on the host."""
        found = []
        for value, spec in self.program.results:
            array = np.empty(spec.shape, spec.dtype)
            self.device.download(array, self.addresses[value])
            found.append(array)
        self.complain()
        return found

    def complain(self, rows=None, first: int = 0) -> None:
        """Raise what a kernel found wrong; see `Complaint.error` for the steps of a call."""
        if self.program.wrong is None:
            return
        told, address = np.zeros(WORDS, np.int64), self.addresses[self.program.wrong]
        self.device.download(told, address)
        if told[0]:
            self.device.upload(address, np.zeros_like(told))
            complaint = self.program.complaints[int(told[0]) - 1]
            raise complaint.error(told, self.program.graph.inputs, rows, first)

    def hand_over(self, state: list) -> None:
        """Replace the updated entries of the state by arrays that stay where they are."""
        for i in self.program.updated:
            value = self.program.bound[i]
            spec = self.program.variables[i].spec
            array = DeviceArray(self.device, self.memory, self.addresses[value], spec.shape,
                                spec.dtype)
            state[i], self._content[i] = array, ref(array)
