"""Where a number comes from: the network that was judged, and the code that judged it."""

import os
import subprocess
from pathlib import Path
from typing import Any

from models.checkpoint import CheckpointRecord
from worker.stages.frozen import checkpoint_facts

REVISION_VARIABLE = "PASSDOWN_REVISION"
"""Names the revision where the code was installed without its history, as in an image."""
_ROOT = Path(__file__).parents[2]
_TRAINING = ("dataset", "photographs", "method", "task", "epochs", "images_seen", "images", "imported")


def checkpoint_provenance(folder: Path, record: CheckpointRecord) -> dict[str, Any]:
    """JSON facts: role, architecture, crop, sha256 of the weights, and what is known of the training."""
    known = {key: record.training[key] for key in _TRAINING if key in record.training}
    return {**checkpoint_facts(folder, record), "crop": record.crop, **known}


def code_revision(root: Path = _ROOT) -> str | None:
    """Git revision of this code, `-dirty` where files differ from it; None where nobody knows."""
    if not (root / ".git").exists():
        return os.environ.get(REVISION_VARIABLE) or None
    command = ["git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, check=True, timeout=10)
    except (OSError, subprocess.SubprocessError):
        return None
    return answer.stdout.strip() or None
