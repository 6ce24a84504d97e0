"""Shuffling without a shuffled list: the place of an item in a random order, computed by itself.

A permutation of 450 million samples need not exist to be looked up in: a Feistel network is a bijection whatever its
round function, so any position can be mapped alone, in any process, after any crash, and always to the same place. No
generator of a library takes part, so that no upgrade changes the order of a training.
"""

import numpy as np

HALF_ROUNDS = 8  # neighbours part (tests/data/test_permute.py)
SMALL = 128  # up to here items are ranked by random numbers: a network on so few bits prefers some orders
WORD = 2**64 - 1
GOLDEN = 0x9E3779B97F4A7C15
_STEP = np.uint64(GOLDEN)
_STEPS = np.arange(HALF_ROUNDS, dtype=np.uint64) * _STEP


def mix(*numbers: int) -> int:
    """64 bits that depend on every bit of each number and on their order: a key for :func:`permute`."""
    key = 0
    for number in numbers:
        key = scramble((key + number * GOLDEN + GOLDEN) & WORD)
    return key


def scramble(x: int) -> int:
    """The finaliser of SplitMix64, for a number by itself."""
    x = (x ^ x >> 30) * 0xBF58476D1CE4E5B9 & WORD
    x = (x ^ x >> 27) * 0x94D049BB133111EB & WORD
    return x ^ x >> 31


def mix_arrays(key: int, *columns: np.ndarray) -> np.ndarray:
    """As :func:`mix`, for each row of the columns: uint64."""
    keys = np.array([key], np.uint64)
    for column in columns:
        keys = _scramble_array(keys + column.astype(np.uint64) * _STEP + _STEP)
    return keys


def permute(positions: np.ndarray, sizes: np.ndarray | int, keys: np.ndarray | int) -> np.ndarray:
    """Where each position lies in the random order of ``range(size)`` that its key stands for: int64.

    ``sizes`` and ``keys`` are one for all or one for each position; each position is below its size.
    """
    places = positions.astype(np.uint64)
    sizes = np.broadcast_to(np.asarray(sizes, np.uint64), places.shape)
    keys = np.broadcast_to(np.asarray(keys, np.uint64), places.shape)
    small = sizes <= SMALL
    if small.any():
        places[small] = _ranks(places[small], sizes[small], keys[small])
    bits = _bit_length(sizes - np.uint64(1)).astype(np.uint64)
    outside = ~small
    while outside.any():  # the network permutes a power of two: walk on until the place is inside
        places[outside] = _network(places[outside], bits[outside], keys[outside])
        outside &= places >= sizes
    return places.astype(np.int64)


def _ranks(places: np.ndarray, sizes: np.ndarray, keys: np.ndarray) -> np.ndarray:
    """Every item has a random number; its place is that number's among those of all."""
    items = np.arange(int(sizes.max()), dtype=np.uint64)
    numbers = _scramble_array(keys[:, None] + (items + np.uint64(1)) * _STEP)
    mine = np.take_along_axis(numbers, places[:, None].astype(np.int64), 1)
    return ((numbers < mine) & (items < sizes[:, None])).sum(1, dtype=np.uint64)


def _network(x: np.ndarray, bits: np.ndarray, keys: np.ndarray) -> np.ndarray:
    low_bits = bits >> np.uint64(1)
    one = np.uint64(1)
    low_mask, high_mask = (one << low_bits) - one, (one << (bits - low_bits)) - one
    low, high = x & low_mask, x >> low_bits
    for number in range(HALF_ROUNDS):
        key = keys + _STEPS[number]
        if number % 2:
            low ^= _scramble_array(high ^ key) & low_mask
        else:
            high ^= _scramble_array(low ^ key) & high_mask
    return high << low_bits | low


def _scramble_array(x: np.ndarray) -> np.ndarray:
    """As :func:`scramble`: twice what a Feistel round needs, so that neighbours part."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def _bit_length(x: np.ndarray) -> np.ndarray:
    """Bits of each number below 2 ** 53: exponents of floating point are exact there."""
    return np.frexp(x.astype(np.float64))[1]
