"""What the machine refuses, told as the reason a client can act on."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from worker.config.reasons import Reason
from worker.data.disk_full import disk_full_named
from worker.stages.contract import StageError


@contextmanager
def machine_errors(doing: str) -> Iterator[None]:
    """Turns a full disk and exhausted memory into `StageError(disk_full | out_of_memory)`, said of `doing`."""
    try:
        with disk_full_named(doing):
            yield
    except (MemoryError, RuntimeError) as error:
        if not _out_of_memory(error):
            raise
        message = f"Memory ran out: {doing} failed. A smaller batch needs less."
        raise StageError(Reason.out_of_memory, message) from error


def _out_of_memory(error: Exception) -> bool:
    # The CPU's allocator raises a bare RuntimeError.
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or "can't allocate memory" in str(error)
