"""Why a stage ended as it did: stable codes that clients may switch on."""

from enum import StrEnum


class Reason(StrEnum):
    # The request or the data is at fault: not retried.
    source_missing = "source_missing"
    empty_source = "empty_source"
    too_few_images = "too_few_images"
    images_too_small = "images_too_small"
    archive_refused = "archive_refused"
    k_too_large = "k_too_large"
    bad_weights = "bad_weights"
    weights_mismatch = "weights_mismatch"
    bad_labels = "bad_labels"
    bad_config = "bad_config"
    artifact_corrupt = "artifact_corrupt"
    device_unavailable = "device_unavailable"
    # The machine is at fault.
    disk_full = "disk_full"
    out_of_memory = "out_of_memory"
    diverged = "diverged"
    crashed = "crashed"
    killed = "killed"
    worker_lost = "worker_lost"
    stalled = "stalled"
    # Neither.
    cancelled = "cancelled"
    cancel_timed_out = "cancel_timed_out"
    drained = "drained"
    upstream_failed = "upstream_failed"
    reused = "reused"


RETRYABLE = frozenset({Reason.crashed, Reason.killed, Reason.worker_lost, Reason.stalled})
"""Reasons after which a new attempt may help, up to the stage's `max_attempts`."""
