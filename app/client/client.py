"""A thin, typed client of the service's HTTP API."""

import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import httpx
from httpx_sse import ServerSentEvent, SSEError, connect_sse
from pydantic import BaseModel

from app.client.download import Advance, download
from app.client.errors import Unreachable, raise_for_problem
from app.client.models import Checkpoint, Dataset, Evaluation, Event, Page, Run, Upload

CHUNK = 1 << 20
TIMEOUT = httpx.Timeout(30, connect=5)
FIRST_PAUSE, LONGEST_PAUSE = 0.2, 5.0

M = TypeVar("M", bound=BaseModel)


class PassdownClient:
    """Every method raises ApiError for what the service refuses and Unreachable where none answers.

    `patience` is how many seconds `wait` and `follow` bear a service that does not answer.
    """

    def __init__(
        self, url: str = "http://127.0.0.1:8000", *, patience: float = 60, transport: httpx.BaseTransport | None = None
    ) -> None:
        self.url = url.rstrip("/")
        self.patience = patience
        self._http = httpx.Client(base_url=self.url, timeout=TIMEOUT, transport=transport)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._http.close()

    def close(self) -> None:
        self._http.close()

    # Datasets

    def register_folder(
        self, name: str, root: str, path: str, config: Mapping[str, Any] | None = None, layout: str = "images"
    ) -> Dataset:
        """Register a folder below one of the service's own roots; `layout` is `images` or `voc` (with annotations)."""
        return self._register(name, {"kind": "folder", "root": root, "path": path}, config, layout)

    def register_upload(
        self, name: str, upload: str, config: Mapping[str, Any] | None = None, layout: str = "images"
    ) -> Dataset:
        """Register the images of an uploaded tar or zip."""
        return self._register(name, {"kind": "upload", "upload": upload}, config, layout)

    def dataset(self, ref: str) -> Dataset:
        return Dataset.model_validate(self._get(f"/datasets/{ref}"))

    def datasets(self) -> Iterator[Dataset]:
        return self._pages("/datasets", Page[Dataset])

    def delete_dataset(self, ref: str) -> None:
        self._send("DELETE", f"/datasets/{ref}")

    def wait_for_dataset(self, ref: str, seen: Callable[[Dataset], None] | None = None) -> Dataset:
        """Until its registration has ended, well or badly."""
        return self._poll(lambda: self.dataset(ref), lambda dataset: dataset.state != "registering", seen)

    def upload(self, path: Path, advance: Advance | None = None) -> Upload:
        """Send a file as it is read, never whole in memory."""
        headers = {"Content-Length": str(path.stat().st_size), "Content-Type": "application/octet-stream"}
        body = self._send(
            "POST", "/uploads", params={"filename": path.name}, content=_chunks(path, advance), headers=headers
        )
        return Upload.model_validate(body)

    # Runs

    def create_run(
        self,
        dataset: str | None,
        *,
        preset: str | None = None,
        config: Mapping[str, Any] | None = None,
        key: str | None = None,
        **fields: Any,  # noqa: ANN401 (whatever else POST /runs takes)
    ) -> Run:
        """Ask for a run. `key` (drawn when not given) makes the request safe to repeat."""
        body = {"dataset": dataset, "preset": preset, "config": dict(config or {}), **fields}
        given = {name: value for name, value in body.items() if value is not None}
        headers = {"Idempotency-Key": key or str(uuid.uuid4())}
        return Run.model_validate(self._send("POST", "/runs", json=given, headers=headers))

    def create_sweep(
        self,
        dataset: str | None,
        k: Sequence[int],
        *,
        key: str | None = None,
        **fields: Any,  # noqa: ANN401 (whatever POST /runs takes)
    ) -> list[Run]:
        """A run for each number of clusters; what they have in common is done once."""
        run = {name: value for name, value in {"dataset": dataset, **fields}.items() if value is not None}
        headers = {"Idempotency-Key": key or str(uuid.uuid4())}
        answer = self._send("POST", "/sweeps", json={"run": run, "k": list(k)}, headers=headers)
        return [Run.model_validate(made) for made in answer["runs"]]

    def run(self, ref: str) -> Run:
        return Run.model_validate(self._get(f"/runs/{ref}"))

    def runs(self, **filters: str) -> Iterator[Run]:
        """The newest first; `state`, `kind`, `dataset` narrow the list."""
        return self._pages("/runs", Page[Run], filters)

    def cancel(self, ref: str) -> Run:
        return Run.model_validate(self._send("POST", f"/runs/{ref}/cancel"))

    def resume(self, ref: str) -> Run:
        return Run.model_validate(self._send("POST", f"/runs/{ref}/resume"))

    def wait(self, ref: str, seen: Callable[[Run], None] | None = None, every: float = 0.5) -> Run:
        """Until the run has ended; `seen` hears of it at every look."""
        return self._poll(lambda: self.run(ref), lambda run: run.finished, seen, every)

    def wait_until(self, ref: str, holds: Callable[[Run], bool], every: float = 0.2) -> Run:
        """Until something is so, or the run has ended."""
        return self._poll(lambda: self.run(ref), lambda run: run.finished or holds(run), None, every)

    def follow(self, ref: str, after: int = 0) -> Iterator[Event]:
        """The run's events after number `after`, as they happen, until its last one; a lost connection is taken up."""
        last, lost_at = after, None
        while True:
            try:
                for event in self._events(ref, last):
                    last, lost_at = event.seq, None
                    yield event
                if self.run(ref).finished:
                    yield from self._events(ref, last)
                    return
            except (httpx.TransportError, Unreachable) as error:
                lost_at = lost_at or time.monotonic()
                self._bear(lost_at, error)
            time.sleep(FIRST_PAUSE)

    def logs(self, ref: str, **params: str) -> Any:  # noqa: ANN401 (JSON)
        return self._get(f"/runs/{ref}/logs", params)

    def metrics(self, ref: str, **params: str) -> Any:  # noqa: ANN401 (JSON)
        return self._get(f"/runs/{ref}/metrics", params)

    # Evaluations

    def evaluate(
        self,
        checkpoint: str,
        dataset: str,
        protocols: Sequence[Mapping[str, Any]],
        *,
        device: str | None = None,
        key: str | None = None,
    ) -> list[Run]:
        """Have a checkpoint judged: a run for each protocol, such as `{"protocol": "linear", "epochs": 30}`."""
        body = {"checkpoint": checkpoint, "dataset": dataset, "protocols": [dict(one) for one in protocols]}
        headers = {"Idempotency-Key": key or str(uuid.uuid4())}
        asked = body if device is None else {**body, "device": device}
        answer = self._send("POST", "/evaluations", json=asked, headers=headers)
        return [Run.model_validate(run) for run in answer["runs"]]

    def evaluation(self, ref: str) -> Evaluation:
        return Evaluation.model_validate(self._get(f"/evaluations/{ref}"))

    def evaluations(self, **filters: str) -> Iterator[Evaluation]:
        """The newest first; `checkpoint`, `protocol` narrow the list."""
        return self._pages("/evaluations", Page[Evaluation], filters)

    def compare(self, first: str, second: str) -> Any:  # noqa: ANN401 (JSON)
        """Two evaluations by one protocol on the same images: wins, losses, interval, p-value by column."""
        return self._get("/evaluations/compare", {"first": first, "second": second})

    def leaderboard(self, table: int) -> Any:  # noqa: ANN401 (JSON)
        """One of the paper's tables, 3 to 6, beside the service's own rows."""
        return self._get("/leaderboard", {"table": str(table)})

    def leaderboard_text(self, table: int, form: str) -> str:
        """The same as `md`, `csv` or `json`."""
        return self._ask("GET", "/leaderboard", params={"table": str(table), "format": form}).text

    def checkpoints(self) -> Iterator[Checkpoint]:
        """All networks, the newest first."""
        return self._pages("/checkpoints", Page[Checkpoint])

    # Files

    def download(
        self, path: str, target: Path, params: dict[str, str] | None = None, advance: Advance | None = None
    ) -> str:
        """Fetch any download route into `target`; see `app.client.download.download`. Returns the sha256."""
        return download(self._http, path, params or {}, target, advance)

    def download_weights(self, run: str, form: str, target: Path, advance: Advance | None = None) -> str:
        """The run's distilled AlexNet: `safetensors`, `torchvision`, `onnx`, `pt2`."""
        return self.download(f"/runs/{run}/weights", target, {"format": form}, advance)

    def download_file(self, artifact: str, name: str, target: Path, advance: Advance | None = None) -> str:
        return self.download(f"/artifacts/{artifact}/files/{name}", target, None, advance)

    def download_labels(self, ref: str, form: str, target: Path, advance: Advance | None = None) -> str:
        """A pseudo-label set as `parquet` or `csv`."""
        return self.download(f"/pseudo-label-sets/{ref}/download", target, {"format": form}, advance)

    # The service itself

    def version(self) -> dict[str, Any]:
        return dict(self._get("/version"))

    def ready(self) -> bool:
        try:
            return self._http.get("/readyz").status_code == httpx.codes.OK
        except httpx.TransportError:
            return False

    def _register(self, name: str, source: dict[str, str], config: Mapping[str, Any] | None, layout: str) -> Dataset:
        body = {"name": name, "source": source, "layout": layout, "config": dict(config or {})}
        return Dataset.model_validate(self._send("POST", "/datasets", json=body))

    def _get(self, path: str, params: Mapping[str, str] | None = None) -> Any:  # noqa: ANN401 (JSON)
        return self._send("GET", path, params=dict(params or {}))

    def _send(self, method: str, path: str, **options: Any) -> Any:  # noqa: ANN401 (JSON)
        response = self._ask(method, path, **options)
        return response.json() if response.content else None

    def _ask(self, method: str, path: str, **options: Any) -> httpx.Response:  # noqa: ANN401 (httpx's own)
        try:
            response = self._http.request(method, path, **options)
        except httpx.TransportError as error:
            raise Unreachable(f"no answer from {self.url}: {error}") from error
        raise_for_problem(response)
        return response

    def _pages(self, path: str, page: type[Page[M]], filters: Mapping[str, str] | None = None) -> Iterator[M]:
        params = dict(filters or {})
        while True:
            found = page.model_validate(self._get(path, params))
            yield from found.items
            if found.next_cursor is None:
                return
            params["cursor"] = found.next_cursor

    def _poll(
        self, look: Callable[[], M], done: Callable[[M], bool], seen: Callable[[M], None] | None, every: float = 0.5
    ) -> M:
        lost_at: float | None = None
        while True:
            try:
                found, lost_at = look(), None
            except Unreachable as error:
                lost_at = lost_at or time.monotonic()
                self._bear(lost_at, error)
            else:
                if seen is not None:
                    seen(found)
                if done(found):
                    return found
            time.sleep(every)

    def _bear(self, lost_at: float, error: Exception) -> None:
        if time.monotonic() - lost_at > self.patience:
            raise Unreachable(f"no answer from {self.url} for {self.patience:.0f} s: {error}") from error

    def _events(self, ref: str, after: int) -> Iterator[Event]:
        headers = {"Last-Event-ID": str(after)}
        timeout = httpx.Timeout(60, connect=5)
        with connect_sse(self._http, "GET", f"/runs/{ref}/events", headers=headers, timeout=timeout) as source:
            raise_for_problem(source.response)
            try:
                for event in source.iter_sse():
                    if event.id and event.data:
                        yield _event(event)
            except SSEError as error:
                raise Unreachable(f"{self.url} sent no event stream: {error}") from error


def _event(event: ServerSentEvent) -> Event:
    body = event.json()
    fields = body if isinstance(body, dict) and "seq" in body else {"data": body}
    return Event.model_validate({"type": event.event, **fields, "seq": int(event.id)})


def _chunks(path: Path, advance: Advance | None) -> Iterator[bytes]:
    size = path.stat().st_size
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            yield chunk
            if advance is not None:
                advance(file.tell(), size)
