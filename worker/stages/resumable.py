"""The training state a later attempt goes on from: one file, replaced atomically, refused where it doesn't fit."""

import hashlib
import json
import os
import shutil
import zipfile
from pathlib import Path
from typing import Any

import torch

from worker.config.schedule import TrainingConfig
from worker.stages.contract import Context
from worker.stages.machine_errors import machine_errors

STATE_FILE = "training_state.pt"
FORMAT = 2


def fingerprint(config: TrainingConfig, data: str) -> str:
    """Names everything a training's result depends on: its config and the digest of its `data`."""
    values = config.model_dump(mode="json")
    values["schedule"].pop("checkpoint_seconds")
    facts = {"format": FORMAT, "kind": type(config).__name__, "config": values, "data": data}
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def save_state(folder: Path, state: dict[str, Any]) -> None:
    """Replace the state in `folder`; where the disk fills, the old one stays and `StageError(disk_full)` is raised."""
    part = folder / f"{STATE_FILE}.part"
    try:
        with machine_errors("saving the training's state"):
            # To a file object: torch.save to a path hides the errno of a full disk.
            with part.open("wb") as file:
                torch.save(state, file)
                file.flush()
                os.fsync(file.fileno())
            part.replace(folder / STATE_FILE)
            _sync_directory(folder)
    finally:
        part.unlink(missing_ok=True)


def load_state(context: Context, wanted: str) -> dict[str, Any] | None:
    """The state an earlier attempt at the same training left, on the CPU; None, with the reason logged, where none fits
    the `wanted` fingerprint (a state carries those of the config as asked for and as resolved).

    It is taken over into this attempt's own directory, so that the attempt after this one finds it there even if this
    one saves nothing.
    """
    if context.resume_from is None:
        return None
    path = context.resume_from / STATE_FILE
    if not path.is_file():
        context.log("The earlier attempt left no training state: this one starts afresh.")
        return None
    state = _read(path)
    if state is None or wanted not in state.get("fingerprints", []):
        context.log(
            "The earlier attempt's training state is broken, or of another config or other data: starting afresh.",
            "warning",
        )
        return None
    _take_over(path, context.workdir / STATE_FILE)
    return state


def remove_state(folder: Path) -> None:
    """For what is finished: the state is no part of a result."""
    (folder / STATE_FILE).unlink(missing_ok=True)


def _read(path: Path) -> dict[str, Any] | None:
    try:
        # Loading looks at no checksum, so that a flipped bit would become a weight.
        with zipfile.ZipFile(path) as archive:
            if archive.testzip() is not None:
                return None
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception:
        # Damaged archives raise whatever the parser stumbles over.
        return None
    return state if isinstance(state, dict) else None


def _take_over(source: Path, target: Path) -> None:
    if target.exists():
        return
    try:
        os.link(source, target)
    except OSError:
        part = target.with_suffix(".part")
        with machine_errors("taking over the earlier attempt's state"):
            shutil.copyfile(source, part)
            part.replace(target)


def _sync_directory(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
