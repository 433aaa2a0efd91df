"""Files of artifacts over HTTP: resumable, and checkable against their digest."""

import base64
from http import HTTPStatus
from pathlib import Path

from fastapi import Request
from fastapi.responses import FileResponse, Response

from app.artifacts.tables import Artifact
from app.problems import Problem
from app.storage import Storage

WEIGHT_FILES = {
    "safetensors": "alexnet.safetensors",
    "torchvision": "alexnet.torchvision.pth",
    "onnx": "alexnet.onnx",
    "pt2": "alexnet.pt2",
    "model_card": "model_card.json",
}
"""Format -> file of a `weights` artifact."""


def send(request: Request, storage: Storage, artifact: Artifact, name: str) -> Response:
    """One file of an artifact; 404 where it has no such file, 410 where its bytes are gone."""
    file = next((file for file in artifact.files if file["name"] == name), None)
    if file is None:
        there = ", ".join(file["name"] for file in artifact.files)
        raise Problem(404, "file_not_found", f"The {artifact.kind} has no file {name!r}; it has: {there}.")
    return send_path(request, storage.artifact(artifact.sha256) / name, name, file["sha256"])


def show(request: Request, storage: Storage, artifact: Artifact, name: str, media_type: str) -> Response:
    """As `send`, for a browser to show rather than to keep."""
    answer = send(request, storage, artifact, name)
    if answer.status_code == HTTPStatus.OK:
        answer.headers["Content-Type"] = media_type
        answer.headers["Content-Disposition"] = f'inline; filename="{name}"'
    return answer


def send_format(request: Request, storage: Storage, artifact: Artifact, file_format: str) -> Response:
    """A `weights` artifact's file in that format; 404 `format_unavailable` naming what there is."""
    name = WEIGHT_FILES.get(file_format)
    formats = weight_formats(artifact)
    if name is None or file_format not in formats:
        there = ", ".join(formats)
        raise Problem(404, "format_unavailable", f"There is no {file_format!r} of these weights; there is: {there}.")
    return send(request, storage, artifact, name)


def weight_formats(artifact: Artifact) -> list[str]:
    names = {file["name"] for file in artifact.files}
    return [file_format for file_format, name in WEIGHT_FILES.items() if name in names]


def send_path(request: Request, path: Path, name: str, sha256: str) -> Response:
    """The file as an attachment, under a strong ETag: ranges resume only what is still the same bytes."""
    etag = f'"{sha256}"'
    digest = base64.b64encode(bytes.fromhex(sha256)).decode()
    headers = {"ETag": etag, "Repr-Digest": f"sha-256=:{digest}:"}
    if _knows(request.headers.get("if-none-match", ""), etag):
        return Response(status_code=304, headers=headers)
    if not path.is_file():
        raise Problem(410, "file_gone", f"The file {name!r} is no longer stored.")
    return FileResponse(path, filename=name, media_type="application/octet-stream", headers=headers)


def _knows(if_none_match: str, etag: str) -> bool:
    tags = {tag.strip().removeprefix("W/") for tag in if_none_match.split(",")}
    return etag in tags or "*" in tags
