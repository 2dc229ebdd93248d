"""Philox4x32-10: random bits that are a function of a counter and a key, on any array module."""
from __future__ import annotations

MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
WEYL = (0x9E3779B9, 0xBB67AE85)
ROUNDS = 10
LOW = 0xFFFFFFFF
BLOCKS_AT_ONCE = 1 << 18  # 12 MB of working memory


def philox(xp, even, odd, key):
    """Ten rounds of Philox on many counters at once.

    Parameters
    ----------
    xp : array module
        See ``backend/array_module.py``.
    even, odd : uint64 array of shape (2, n)
        Words 0 and 2, and words 1 and 3 of the counters, below 2**32. They are overwritten.
    key : uint64 array of shape (2, 1)
        The two words of the key, below 2**32.

    Returns
    -------
    uint32 array of shape (n, 4)
        Four random words per counter.

    Notes
    -----
    Salmon, Moraes, Dror and Shaw, "Parallel random numbers: as easy as 1, 2, 3", 2011, section
    3.3. The two halves of a round stand above each other, so that one call does both.

    Examples
    --------
    >>> import numpy as np
    >>> from gradatim.backend.array_module import numpy_module
    >>> zeros = lambda n: np.zeros((2, n), np.uint64)
    >>> [f"{word:08x}" for word in philox(numpy_module, zeros(1), zeros(1), zeros(1))[0]]
    ['6627e8d5', 'e169c58d', 'bc57ac4c', '9b00dbd8']
    """
    multipliers = xp.asarray(MULTIPLIERS, dtype=xp.uint64).reshape(2, 1)
    weyl = xp.asarray(WEYL, dtype=xp.uint64).reshape(2, 1)
    products = xp.empty_like(even)
    crossed = products[::-1]
    for _ in range(ROUNDS):
        xp.multiply(even, multipliers, out=products)
        xp.right_shift(crossed, 32, out=even)
        even ^= odd
        even ^= key
        xp.bitwise_and(crossed, LOW, out=odd)
        key = (key + weyl) & LOW
    words = xp.empty((even.shape[1], 4), dtype=xp.uint32)
    words[:, 0::2] = even.T
    words[:, 1::2] = odd.T
    return words


def blocks(xp, seed, step, stream, first, count):
    """Blocks ``first`` to ``first + count`` of four words of a stream.

    The counter is (low half of the block's number, high half, step, stream) and the key is the
    seed; only the lowest 32 bits of step and stream count. ``seed``, ``step`` and ``first`` are
    0-d integer arrays, ``stream`` and ``count`` Python numbers.

    Returns
    -------
    uint32 array of shape (count, 4)
    """
    unsigned = lambda x: xp.asarray(x).astype(xp.uint64)
    seed = unsigned(seed)
    key = xp.stack([seed & LOW, seed >> 32]).reshape(2, 1)
    words = xp.empty((count, 4), dtype=xp.uint32)
    for start in range(0, count, BLOCKS_AT_ONCE):
        stop = min(start + BLOCKS_AT_ONCE, count)
        number = xp.arange(start, stop, dtype=xp.uint64) + unsigned(first)
        even = xp.empty((2, stop - start), dtype=xp.uint64)
        odd = xp.empty((2, stop - start), dtype=xp.uint64)
        even[0], odd[0] = number & LOW, number >> 32
        even[1], odd[1] = unsigned(step) & LOW, stream & LOW
        words[start:stop] = philox(xp, even, odd, key)
    return words
