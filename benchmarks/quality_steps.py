"""Stages run one after the other on this machine: what is done is not done again, what was stopped goes on."""

import hashlib
import json
import shutil
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from worker.config.base import StageConfig
from worker.stages.contract import Context, Inputs, Result
from worker.stages.standalone import LocalContext

C = TypeVar("C", bound=StageConfig)
In = TypeVar("In", bound=Inputs)

DONE, ATTEMPT = "done.json", "attempt"


class Steps:
    """Every step has a folder below `root`, named by what it is and by the digest of what it depends on."""

    def __init__(self, root: Path, device: str) -> None:
        self._root = root
        self._device = device
        self.seconds: dict[str, float] = {}
        """Of every step by name, as it took when it was done."""

    def take(
        self,
        name: str,
        run: Callable[[C, In, Context], Result],
        config: C,
        inputs_class: type[In],
        inputs: Mapping[str, Path],
    ) -> "Step":
        """The finished step: from disk, or done now."""
        folder = self._root / f"{name}-{self._key(name, config, inputs)}"
        if not (folder / DONE).is_file():
            self._do(folder, name, run, config, inputs_class.model_validate(dict(inputs)))
        step = Step(folder, json.loads((folder / DONE).read_text()))
        self.seconds[name] = step.facts["seconds"]
        return step

    def _do(self, folder: Path, name: str, run: Callable[[C, In, Context], Result], config: C, inputs: In) -> None:
        earlier = folder / f"{ATTEMPT}-earlier"
        attempt = folder / ATTEMPT
        if attempt.is_dir():
            shutil.rmtree(earlier, ignore_errors=True)
            attempt.rename(earlier)
        context = LocalContext(attempt, self._device, earlier if earlier.is_dir() else None)
        print(f"{name} ...", flush=True)
        started = time.monotonic()
        result = run(config, inputs, context)
        seconds = time.monotonic() - started
        for role, produced in result.produced().items():
            shutil.rmtree(folder / role, ignore_errors=True)
            produced.path.rename(folder / role)
        resolved = (context.config or config).model_dump(mode="json")
        summaries = {role: produced.summary for role, produced in result.produced().items()}
        facts = {"seconds": seconds, "config": resolved, "summary": summaries, "messages": context.messages[-40:]}
        (folder / DONE).write_text(json.dumps(facts, indent=2, default=str))
        shutil.rmtree(attempt, ignore_errors=True)
        shutil.rmtree(earlier, ignore_errors=True)
        print(f"{name}: {seconds:.1f} s  {_told(summaries)}", flush=True)

    def _key(self, name: str, config: StageConfig, inputs: Mapping[str, Path]) -> str:
        read = {role: self._identity(path) for role, path in inputs.items()}
        told = json.dumps([name, config.model_dump(mode="json"), read], sort_keys=True)
        return hashlib.sha256(told.encode()).hexdigest()[:10]

    def _identity(self, path: Path) -> str:
        """A step's result is named by its step's folder, which tells what it depends on; all else by where it lies."""
        whole = path.resolve()
        return whole.parent.name if whole.is_relative_to(self._root.resolve()) else str(whole)


class Step:
    def __init__(self, folder: Path, facts: dict[str, Any]) -> None:
        self.folder = folder
        self.facts = facts

    def __getitem__(self, role: str) -> Path:
        """Where the artifact of that role lies."""
        return self.folder / role


def _told(summaries: Mapping[str, dict[str, Any]]) -> str:
    """The few facts worth a line."""
    wanted = ("epochs", "images_per_second", "loss", "accuracy", "holdout_accuracy", "k")
    found = {key: value for summary in summaries.values() for key, value in summary.items() if key in wanted}
    return " ".join(
        f"{key}={value:.4g}" if isinstance(value, float) else f"{key}={value}" for key, value in found.items()
    )
