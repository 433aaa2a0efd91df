"""What the machine refuses, told as the reason a client can act on."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from worker.config.reasons import Reason
from worker.stages.contract import StageError


@contextmanager
def machine_errors(doing: str) -> Iterator[None]:
    """Turns a full disk and exhausted memory into `StageError(disk_full | out_of_memory)`, said of `doing`."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise StageError(Reason.disk_full, f"The disk is full: {doing} failed.") from error
    except (MemoryError, RuntimeError) as error:
        if not _out_of_memory(error):
            raise
        raise StageError(
            Reason.out_of_memory, f"Memory ran out: {doing} failed. A smaller `schedule.batch` needs less."
        ) from error


def _out_of_memory(error: Exception) -> bool:
    # The CPU's allocator raises a bare RuntimeError.
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or "can't allocate memory" in str(error)
