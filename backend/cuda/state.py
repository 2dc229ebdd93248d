"""DeviceArray: a variable's value in a device's memory, brought to the host only when read."""
from __future__ import annotations

import numpy as np


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
        self.frozen = False

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
        """To memory of its own, before that which it was made in is written anew."""
        with self.device.here():
            fresh = self.device.allocate(self.nbytes)
            self.device.copy(fresh.address, self.address, self.nbytes)
            self.memory, self.address = fresh, fresh.address

    def __array__(self, dtype=None, copy=None) -> np.ndarray:
        if copy is False:
            raise ValueError("an array of a device is read by copying it")
        array = np.empty(self.shape, self.dtype)
        with self.device.here():
            self.device.download(array, self.address)
        return array if dtype is None else array.astype(dtype, copy=False)

    def __reduce__(self):
        return np.asarray, (np.asarray(self),)
