"""Random numbers as functions of a key: no state, so nothing to restore when a killed run goes on."""

import numpy as np


def random_word(*key: int) -> int:
    """64 random bits, 0..2^64-1, of a tuple of integers >= 0."""
    return int(np.random.SeedSequence(key).generate_state(1, np.uint64)[0])
