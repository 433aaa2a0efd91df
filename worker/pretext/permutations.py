"""Which of the 9! arrangements a puzzle may have (SPEC 3.3).

Two permutations that differ in at least `occluders + 1` slots still differ somewhere after the occluders have hidden
theirs, so that every puzzle keeps one answer.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from worker.config.reasons import Reason
from worker.stages.contract import StageError
from worker.stages.randomness import numpy_generator

CELLS = 9
_CHUNK = 2048


@dataclass(frozen=True, slots=True)
class PermutationSet:
    """`table[label, slot]` is the source cell shown in that slot."""

    table: NDArray[np.int64]
    """(P, 9), values 0..8; rows unique, the identity absent."""
    min_hamming: int
    """Smallest pairwise distance, slots."""
    mean_hamming: float
    """Mean pairwise distance, slots (of 9)."""


def make_permutations(count: int, min_hamming: int, seed: int = 0) -> PermutationSet:
    """`count` permutations that differ pairwise in at least `min_hamming` of the nine slots.

    All of 9! are shuffled and taken greedily, so a set is refused only after every permutation had its turn; a cleverer
    search could find somewhat larger ones. Raises `StageError(bad_config)` with the number found.
    """
    candidates = numpy_generator(seed, "permutations").permutation(_all_permutations()[1:])
    accepted = np.empty((0, CELLS * CELLS), dtype=np.float32)
    most_matches = CELLS - min_hamming
    chosen: list[NDArray[np.int64]] = []
    for start in range(0, len(candidates), _CHUNK):
        chunk = candidates[start : start + _CHUNK]
        coded = _one_hot(chunk)
        fits = np.flatnonzero((coded @ accepted.T <= most_matches).all(axis=1))
        taken = fits[_greedy(coded[fits], most_matches, count - len(accepted))]
        accepted = np.concatenate([accepted, coded[taken]])
        chosen.append(chunk[taken])
        if len(accepted) == count:
            return _described(np.concatenate(chosen), accepted)
    raise StageError(
        Reason.bad_config,
        f"Only {len(accepted)} permutations with a pairwise Hamming distance of at least {min_hamming} were found, "
        f"{count} are asked for: lower `permutations` or `min_hamming`.",
    )


def _all_permutations() -> NDArray[np.int64]:
    """(9!, 9) in lexicographic order: the identity is the first row."""
    table = np.zeros((1, 1), dtype=np.int64)
    for size in range(2, CELLS + 1):
        firsts = np.repeat(np.arange(size), len(table))
        rest = np.tile(table, (size, 1))
        table = np.column_stack([firsts, rest + (rest >= firsts[:, None])])
    return table


def _one_hot(table: NDArray[np.int64]) -> NDArray[np.float32]:
    """(n, 81): the product of two rows counts the slots in which they agree."""
    return np.eye(CELLS, dtype=np.float32)[table].reshape(len(table), -1)


def _greedy(coded: NDArray[np.float32], most_matches: int, wanted: int) -> NDArray[np.int64]:
    """Indices of rows, in order, each far enough from all taken before."""
    clashes = coded @ coded.T > most_matches
    free = np.ones(len(coded), dtype=bool)
    taken: list[int] = []
    for index in range(len(coded)):
        if len(taken) == wanted:
            break
        if free[index]:
            taken.append(index)
            free &= ~clashes[index]
    return np.array(taken, dtype=np.int64)


def _described(table: NDArray[np.int64], coded: NDArray[np.float32]) -> PermutationSet:
    distances = CELLS - (coded @ coded.T)[np.triu_indices(len(coded), k=1)]
    return PermutationSet(table, int(distances.min()), float(distances.mean(dtype=np.float64)))
