"""Counter-style randomness: every draw is a function of (seed, what it is for, when), never of what was drawn before.

A resumed training therefore draws what the uninterrupted one would have drawn, and no generator state is saved.
"""

import hashlib

import numpy as np
import torch


def derived_seed(seed: int, purpose: str, counter: int = 0) -> int:
    """A seed in 0..2**63-1; other arguments give an unrelated one."""
    digest = hashlib.sha256(f"{seed}/{purpose}/{counter}".encode()).digest()
    return int.from_bytes(digest[:8], "little") >> 1


def torch_generator(seed: int, purpose: str, counter: int = 0) -> torch.Generator:
    """A CPU generator, so that every device sees the same draws."""
    # The Mersenne twister of a torch.Generator is seeded by the low 32 bits alone.
    return torch.Generator().manual_seed(derived_seed(seed, purpose, counter))


def numpy_generator(seed: int, purpose: str, counter: int = 0) -> np.random.Generator:
    return np.random.default_rng(derived_seed(seed, purpose, counter))
