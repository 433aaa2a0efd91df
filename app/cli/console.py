"""How the command line talks: results on stdout, everything else on stderr."""

from rich.console import Console

out = Console(soft_wrap=True, highlight=False)
err = Console(stderr=True, soft_wrap=True, highlight=False)


def say(message: str) -> None:
    err.print(message, markup=False)
