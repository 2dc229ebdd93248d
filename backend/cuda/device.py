"""Device: what runs a launch list. A GPU through CuPy, or the CPU that stands in for one."""
from __future__ import annotations

import math
import os
from abc import ABC, abstractmethod
from threading import RLock
from typing import Any, NamedTuple
from weakref import WeakSet

import numpy as np

from ..array_module import ArrayModule
from ..errors import MemoryLimitError
from ..spec import converted
from ..tables import Tables

PIECE_BYTES = 2 ** 24      # of an array that is converted and copied at once

alone = RLock()            # what a GPU is given to do comes from one thread at a time
if hasattr(os, "register_at_fork"):      # a child must not find it taken by a thread it has not got
    os.register_at_fork(before=alone.acquire, after_in_parent=alone.release,
                        after_in_child=alone.release)


class Pointer(NamedTuple):
    """An argument that is the address of a program's value, some bytes on; ``written`` or read."""
    value: int
    offset: int = 0
    written: bool = False


class Table(NamedTuple):
    """An argument that is a structure of 64-bit words: Pointers and whole numbers."""
    words: tuple


class Launch(NamedTuple):
    """One kernel with its grid and arguments: Pointers, Tables, and NumPy scalars as they are."""
    name: str
    function: Any
    grid: tuple[int, int, int]
    block: tuple[int, int, int]
    shared: int
    arguments: tuple


class Call(NamedTuple):
    """One call of a library that a device binds; ``settings`` are what it is made for."""
    name: str
    arguments: tuple
    settings: dict


class Needs(NamedTuple):
    """What a library wants for a call, in bytes.

    ``workspace`` is what it works in. A recurrent layer keeps a ``reserve`` for its gradient, and
    has all its ``weights`` in one piece: by gates, the places of the matrix and the bias for the
    input, then those for the state.
    """
    workspace: int
    reserve: int = 0
    weights: int = 0
    places: tuple[tuple[int, int], ...] = ()


def pointers(step) -> list[Pointer]:
    """All that a step reads and writes, those in Tables too."""
    words = [w for a in step.arguments for w in (a.words if isinstance(a, Table) else (a,))]
    return [w for w in words if isinstance(w, Pointer)]


def packed(argument, addresses: list[int]) -> np.ndarray:
    """An argument of a kernel as the bytes that the kernel is handed."""
    if isinstance(argument, Table):
        return np.array([addresses[w.value] + w.offset if isinstance(w, Pointer) else int(w)
                         for w in argument.words], np.int64)
    if isinstance(argument, Pointer):
        return np.array(addresses[argument.value] + argument.offset, np.uint64)
    return np.array(argument)


class Source(NamedTuple):
    """CUDA C++ to be compiled: text, and the macros it is compiled with."""
    name: str
    text: str
    macros: tuple[tuple[str, str], ...] = ()

    @property
    def whole(self) -> str:
        """The text behind its macros. As flags they would reach headers, where T is a type."""
        macros = "".join(f"#define {name} {value}\n" for name, value in self.macros)
        return f'#include "common.cuh"\n{macros}#line 1 "{self.name}.cu"\n{self.text}'


class Device(ABC):
    """A place with memory of its own that runs kernels and library calls in the order given.

    Attributes
    ----------
    name : str
        ``"cuda:0"``; the part behind the colon is its ``number``.
    count : int
        How many devices the machine has.
    xp : ArrayModule
        For ops without a kernel: functions on `array` views of its memory.
    stand_in : bool
        Whether the CPU plays its part.
    stream, aside : object
        What it is given to do stands in these queues of CuPy, and all but copies made ahead and
        collectives in the first; None without a GPU.
    architecture : str
        What kernels are compiled for.
    halves : tuple of str
        What its products read in two bytes.
    notes : tuple of str
        What it does otherwise than it could.
    """
    xp: ArrayModule
    stand_in = False
    stream: Any = None
    aside: Any = None
    architecture: str
    halves: tuple[str, ...] = ("bfloat16", "float16")
    notes: tuple[str, ...] = ()

    def __init__(self, number: int, count: int):
        self.name, self.number, self.count = f"cuda:{number}", number, count
        self._others: dict[int, Device] = {number: self}
        self.holders = WeakSet()     # what has memory only to be faster: tables, idle programs

    @abstractmethod
    def _other(self, number: int) -> Device:
        """Another device of this machine."""

    def neighbour(self, number: int) -> Device:
        """A device of this machine, opened once."""
        if number not in self._others:
            self._others[number] = self._other(number)
        return self._others[number]

    def here(self):
        """A context in which this thread alone uses the device; it may be entered again."""
        return alone

    # ---- memory --------------------------------------------------------------------------------

    @abstractmethod
    def _allocate(self, nbytes: int):
        """As `allocate`, but None if so many bytes are not free."""

    @abstractmethod
    def _free_bytes(self) -> int | None:
        """Bytes that nobody has, or None if unknown."""

    def allocate(self, nbytes: int):
        """Memory that is freed with the object; its ``address`` is a multiple of 256.

        What has memory here only to be faster gives way to it.

        Raises
        ------
        MemoryLimitError
            If there is too little of it.
        """
        memory = self._allocate(nbytes)
        if memory is None:
            for holder in list(self.holders):
                holder.give_way(self)
            memory = self._allocate(nbytes)
        if memory is None:
            raise MemoryLimitError(
                f"{self.name} has no {nbytes:,} bytes left", got=f"{self._free_bytes():,} free",
                fix="take a smaller batch_size, or end other processes on the GPU")
        return memory

    def free_bytes(self) -> int | None:
        """Bytes that can still be had, or None if unknown."""
        free = self._free_bytes()
        return free if free is None else free + sum(
            holder.held_bytes(self) for holder in list(self.holders))

    def resident(self, tables, dtypes) -> list | None:
        """Memory with the arrays of `Tables` in these element types, which is kept while they live.

        None if it would take more than half of what is free, or if they are no `Tables`.
        """
        if not isinstance(tables, Tables):
            return None
        key = self, *dtypes
        if key not in tables.copies:
            tables.copies[key] = None
            needed = sum(math.prod(a.shape) * d.itemsize for a, d in zip(tables, dtypes))
            free = self._free_bytes()
            if free is None or needed <= free // 2:
                self.holders.add(tables)
                tables.copies[key] = [self._copied(a, d) for a, d in zip(tables, dtypes)]
        return tables.copies[key]

    def _copied(self, array: np.ndarray, dtype: np.dtype):
        """New memory with an array's numbers, converted and brought there in pieces."""
        row = max(array[:1].size * dtype.itemsize, 1)
        memory, some = self.allocate(max(len(array) * row, 1)), max(PIECE_BYTES // row, 1)
        for first in range(0, len(array), some):
            part = converted(array[first:first + some], dtype)
            self.upload(memory.address + first * row, np.ascontiguousarray(part))
        return memory

    @abstractmethod
    def upload(self, address: int, array: np.ndarray, ahead: bool = False) -> None:
        """Copy a contiguous array, which may change afterwards, from the host to an address.

        What goes ahead is queued aside: it does not wait for what is queued, but for the last
        `fork`.
        """

    def fork(self) -> None:
        """What is queued aside from now on waits for what was queued."""

    def join(self) -> None:
        """What is queued from now on waits for what was queued aside."""

    @abstractmethod
    def download(self, array: np.ndarray, address: int) -> None:
        """Fill a contiguous array of the host from an address, when all before is done."""

    @abstractmethod
    def copy(self, to: int, source: int, nbytes: int) -> None:
        """Copy inside the device."""

    def receive(self, to: int, other: Device, source: int, nbytes: int) -> None:
        """Copy from another device when all before is done there; what comes next there waits."""
        self.copy(to, source, nbytes)

    @abstractmethod
    def array(self, address: int, shape, dtype, strides=None):
        """An array of ``xp`` that is this memory; strides in bytes."""

    def to_host(self, array) -> np.ndarray:
        """An array of ``xp`` as one of NumPy."""
        return array

    # ---- kernels and calls ---------------------------------------------------------------------

    @abstractmethod
    def function(self, source: Source, name: str):
        """A kernel, compiled if the cache has it not."""

    @abstractmethod
    def prepare(self, step: Launch | Call, addresses: list[int]):
        """A function without arguments that queues the step with its values at these addresses.

        Its attribute ``captured`` is False if `record` cannot take it in.
        """

    def needs(self, call: str, settings: dict) -> Needs | None:
        """What a library wants for a call that kernels of our own compute, too; None if there is
        no library that can.
        """
        return None

    def record(self, run):
        """What ``run()`` queues, to be replayed as one by calling the result; None if it cannot."""
        return None

    def synchronize(self) -> None:
        """Wait until all that was queued is done."""
