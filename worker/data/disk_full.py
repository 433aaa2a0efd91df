"""A full disk, told as the reason a client can act on."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager

from worker.config.reasons import Reason
from worker.stages.contract import StageError


@contextmanager
def disk_full_named(doing: str) -> Iterator[None]:
    """Turns the `OSError` of a full disk or an exhausted quota into `StageError(disk_full)`, said of `doing`."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise StageError(Reason.disk_full, f"The disk is full: {doing} failed.") from error
