"""The README's `console` blocks: commands after `$ `, and below each what it printed."""

import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

README = Path(__file__).parents[2] / "README.md"


@dataclass(frozen=True)
class Shown:
    command: str
    output: str


def console(text: str) -> list[Shown]:
    blocks = re.findall(r"^```console\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    return [shown for block in blocks for shown in _shown(block)]


def json_block(text: str) -> str:
    """The request that the walk-through sends."""
    found = re.search(r"^```json\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    assert found
    return found[1]


def run(command: str, folder: Path) -> str:
    """In bash, with the environment's own `python`; what it printed, once it ended well."""
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", command],
        cwd=folder,
        env=os.environ | {"PATH": path},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
    return done.stdout


def _shown(block: str) -> list[Shown]:
    found: list[Shown] = []
    for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
        lines = part.splitlines()
        end = lines.index("END") + 1 if "<<'END'" in lines[0] else 1
        found.append(Shown("\n".join(lines[:end]), "\n".join(lines[end:])))
    return found
