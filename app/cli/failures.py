"""Exit codes, for scripts: 0 done, 1 failed, 2 wrong usage, 3 the service refused, 4 it does not answer."""

from app.client.errors import ApiError, CorruptDownload, Unreachable
from app.embedded.daemon import DaemonError

EXIT_FAILED = 1
EXIT_REFUSED = 3
EXIT_UNREACHABLE = 4
EXIT_INTERRUPTED = 130


class CommandError(Exception):
    """The command can't do what it was asked; the message is one sentence for people."""


FAILURES = (ApiError, CommandError, CorruptDownload, DaemonError, OSError, Unreachable)


def exit_code(error: BaseException) -> int:
    match error:
        case ApiError():
            return EXIT_REFUSED
        case Unreachable():
            return EXIT_UNREACHABLE
        case _:
            return EXIT_FAILED
