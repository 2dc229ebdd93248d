"""DeviceArray: a variable's value in a device's memory, brought to the host only when read."""
from __future__ import annotations

import numpy as np

from ..errors import MemoryLimitError


class DeviceArray:
    """An array that never changes, though the memory it was made in will.

    A program writes the next value of a variable where the last one is. Whoever calls `freeze`
    says that the last one is still wanted: then it moves to memory of its own first.

    Parameters
    ----------
    device : Device
        Whose memory it is.
    memory : object
        What owns the address.
    address : int
        Where it lies, contiguous.
    shape, dtype
        As of an array of NumPy.
    """

    def __init__(self, device, memory, address: int, shape, dtype):
        self.device, self.memory, self.address = device, memory, address
        self.shape, self.dtype = tuple(shape), np.dtype(dtype)
        self.frozen, self._on_host = False, None

    @property
    def nbytes(self) -> int:
        """Bytes of all elements."""
        return int(np.prod(self.shape, dtype=np.int64)) * self.dtype.itemsize

    @property
    def ndim(self) -> int:
        """How many axes."""
        return len(self.shape)

    def freeze(self) -> DeviceArray:
        """Keep the value whatever is written afterwards."""
        self.frozen = True
        return self

    def move(self) -> None:
        """To memory of its own, before that which it was made in is written anew.

        It is the host's where the device has too little.
        """
        with self.device.here():
            try:
                fresh = self.device.allocate(self.nbytes)
            except MemoryLimitError:
                self._on_host, self.memory = np.array(self), None
                return
            self.device.copy(fresh.address, self.address, self.nbytes)
            self.memory, self.address = fresh, fresh.address

    @property
    def is_on_device(self) -> bool:
        """Whether the address is that of the value."""
        return self.memory is not None

    def __array__(self, dtype=None, copy=None) -> np.ndarray:
        if copy is False:
            raise ValueError("an array of a device is read by copying it")
        array = np.empty(self.shape, self.dtype)
        if not self.is_on_device:
            array[...] = self._on_host
        else:
            with self.device.here():
                self.device.download(array, self.address)
        return array if dtype is None else array.astype(dtype, copy=False)

    def __reduce__(self):
        return np.asarray, (np.asarray(self),)
