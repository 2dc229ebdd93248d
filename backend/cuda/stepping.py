"""Stepping: several steps in one call; samples are gathered and outputs collected on the device."""
from __future__ import annotations

import numpy as np

from ..spec import Spec, converted
from .arena import aligned
from .cache import text
from .columns import THREADS, flat
from .device import Pointer, Source
from .replay import Replay

HEAD = 3             # words of the cursor before those of feeds and outputs; see kernels/steps.cu
PIECES = 4           # of what is staged for a call: one is copied while that before is computed


class Cursor:
    """What a program's steps read of where they are, and the launches before and after a step."""

    def __init__(self, program):
        self.fed = [(program.fed[i], t.spec) for i, t in enumerate(program.graph.inputs)]
        self.results = program.results
        ways = len(self.fed) + len(self.results)
        view = program.new(Spec((HEAD + 3 * ways,), np.dtype("int64")), "fixed")
        self.value, cursor = view.value, Pointer(view.value)
        source = Source("steps", text("steps.cu"))
        words = max((s.nbytes // 4 for _, s in self.fed), default=0)
        (blocks, *_), threads = flat(max(words, 1))
        self.before = [program.launched(source, "feed_step", (blocks, len(self.fed), 1),
                                        threads, [cursor])] if self.fed else []
        words = max((s.nbytes // 4 for _, s in self.results), default=0)
        self.after = [program.launched(
            source, "keep_step", (1, 1, 1), (32 if words <= 32 else THREADS, 1, 1),
            [cursor._replace(written=True), np.int32(len(self.fed)), np.int32(len(self.results)),
             np.uint64(0) if program.wrong is None else Pointer(program.wrong, 0, True)])]

    def words(self, addresses, tables, order: int, results, first: int) -> np.ndarray:
        """Where the steps begin: addresses of tables, of their rows, and of all outputs.

        The rows at ``order`` are those from step ``first`` on.
        """
        batch = self.fed[0][1].shape[0] if self.fed else 0
        found = [first, order - 8 * batch * first, batch]
        for (value, spec), table in zip(self.fed, tables):
            found += [table, addresses[value], spec.nbytes // max(spec.shape[0], 1)]
        for (value, spec), to in zip(self.results, results):
            found += [addresses[value], to, spec.nbytes]
        return np.array(found, np.int64)


class Stepper:
    """Runs the steps of a lease, which it must not hold: memory goes when nobody has it."""

    def __init__(self, lease):
        self.program, self.device, self.cursor = lease.program, lease.device, lease.program.cursor
        self.addresses = lease.addresses
        before, after = ([self.device.prepare(step, lease.addresses) for step in steps]
                         for steps in (self.cursor.before, self.cursor.after))
        self._replay = Replay(self.device, [*before, *lease.calls, *after])

    def steps(self, tables, rows: np.ndarray) -> list[np.ndarray]:
        """Run once for each of some rows of the tables, and return all outputs.

        The host only queues, and waits once, for the outputs of all steps.
        """
        device, cursor, offsets, total = self.device, self.cursor, [], 0
        for _, spec in cursor.results:
            offsets.append(total)
            total += aligned(len(rows) * spec.nbytes)
        kept = device.allocate(max(total, 1))
        targets = [kept.address + offset for offset in offsets]
        resident = device.resident(tables, [spec.dtype for _, spec in cursor.fed])
        if resident is None:
            self._staged(tables, rows, targets)
        else:
            self._queue([memory.address for memory in resident], rows, targets)
        found = np.empty(total, np.uint8)
        device.download(found, kept.address)
        return [found[offset:offset + len(rows) * spec.nbytes].view(spec.dtype).reshape(
            len(rows), *spec.shape) for offset, (_, spec) in zip(offsets, cursor.results)]

    def _queue(self, tables: list[int], rows: np.ndarray, targets: list[int],
               first: int = 0) -> None:
        """Steps from ``first`` on, on samples that lie in the device's memory."""
        device, order = self.device, np.ascontiguousarray(rows, np.int64)
        memory = device.allocate(max(order.nbytes, 1))
        device.upload(memory.address, order)
        device.upload(self.addresses[self.cursor.value], self.cursor.words(
            self.addresses, tables, memory.address, targets, first))
        self._replay.times(len(rows), self.program.communicator)

    def _staged(self, tables, rows: np.ndarray, targets: list[int]) -> None:
        """Steps on samples that are brought there in pieces, each while the last is computed."""
        device, specs = self.device, [spec for _, spec in self.cursor.fed]
        size = max(-(-len(rows) // PIECES), 1)
        pieces = [rows[first:first + size] for first in range(0, len(rows), size)]
        buffers = [[device.allocate(max(size * spec.nbytes, 1)) for spec in specs]
                   for _ in pieces[:2]]

        def stage(number: int) -> None:
            for memory, table, spec in zip(buffers[number % 2], tables, specs):
                fed = converted(table[pieces[number]], spec.dtype)           # (steps, batch, ...)
                device.upload(memory.address, np.ascontiguousarray(fed), ahead=True)

        device.fork()
        for number, piece in enumerate(pieces):
            if not number:
                stage(0)
            device.join()
            device.fork()
            order = np.arange(piece.size).reshape(piece.shape)
            self._queue([memory.address for memory in buffers[number % 2]], order, targets,
                        number * size)
            if number + 1 < len(pieces):
                stage(number + 1)
