"""When two stages are the same work."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from worker.config.pipeline import StageSpec


def stage_key(spec: StageSpec, config: dict[str, Any], inputs: Mapping[str, str]) -> str:
    """sha256 over name, code version, canonical JSON config, and the digest of the input in each role."""
    work = {"name": spec.name, "code_version": spec.code_version, "config": config, "inputs": dict(inputs)}
    return hashlib.sha256(json.dumps(work, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
