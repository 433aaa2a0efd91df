"""Runs a stage without database, broker or service: from a notebook, a test, or `python -m worker.stages.<name>`."""

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from worker.config.base import StageConfig
from worker.stages.contract import Context, Inputs, Level, Result, StageError

C = TypeVar("C", bound=StageConfig)
In = TypeVar("In", bound=Inputs)


class LocalContext:
    """A `Context` that keeps what it is told; `stop_after` asks the stage to stop at that many looks."""

    def __init__(
        self,
        workdir: Path,
        device: str = "cpu",
        resume_from: Path | None = None,
        stop_after: int | None = None,
        verbose: bool = False,
    ) -> None:
        workdir.mkdir(parents=True, exist_ok=True)
        self.workdir = workdir
        self.device = device
        self.resume_from = resume_from
        self.metrics: list[tuple[str, int, float]] = []
        self.messages: list[str] = []
        self.config: StageConfig | None = None
        self.done: tuple[int, int, str] | None = None
        self._looks_left = stop_after
        self._verbose = verbose

    def progress(self, done: int, total: int, unit: str) -> None:
        self.done = (done, total, unit)
        self._say(f"{done}/{total} {unit}", end="\r")

    def metric(self, name: str, step: int, value: float) -> None:
        self.metrics.append((name, step, value))
        self._say(f"{name}[{step}] = {value:.6g}")

    def log(self, message: str, level: Level = "info") -> None:
        self.messages.append(message)
        self._say(f"{level}: {message}")

    def resolved(self, config: StageConfig) -> None:
        self.config = config
        self._say(f"config: {config.model_dump_json()}")

    def should_stop(self) -> bool:
        if self._looks_left is None:
            return False
        self._looks_left -= 1
        return self._looks_left < 0

    def _say(self, text: str, end: str = "\n") -> None:
        if self._verbose:
            sys.stderr.write(text + end)


def main(run: Callable[[C, In, Context], Result], config_class: type[C], inputs_class: type[In]) -> None:
    """The command line of a stage: inputs as `--role path`, the config as JSON, the result as JSON on stdout."""
    parser = argparse.ArgumentParser(description=config_class.__doc__)
    parser.add_argument("--config", default="{}", help="JSON, or @file")
    parser.add_argument("--out", type=Path, required=True, help="work directory; outputs appear in it, by role")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--resume-from", type=Path, help="work directory of an earlier, stopped attempt")
    for role, field in inputs_class.model_fields.items():
        parser.add_argument(f"--{role}", type=Path, required=field.is_required())
    arguments = parser.parse_args()
    text = arguments.config
    config = config_class.model_validate_json(Path(text[1:]).read_text() if text.startswith("@") else text)
    inputs = inputs_class.model_validate({role: getattr(arguments, role) for role in inputs_class.model_fields})
    context = LocalContext(arguments.out, arguments.device, arguments.resume_from, verbose=True)
    try:
        result = run(config, inputs, context)
    except StageError as error:
        sys.exit(f"{error.reason}: {error}")
    sys.stdout.write(json.dumps(result.model_dump(mode="json"), indent=2) + "\n")
