"""Latency of POST /runs through a real server and a real Postgres, as JSON: `python -m benchmarks.post_runs`.

Each request plans a whole pipeline of eight stages, stores it with its first event and its doorbell in one
transaction, and answers over HTTP. GET /healthz, which touches no database, is measured beside it: the difference is
what the registry costs.
"""

import argparse
import json
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import uvicorn
from pydantic import SecretStr

from app.db.migrate import upgrade
from app.embedded.servers import Servers
from app.main import create_app
from app.settings import Settings


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=200)
    requests = parser.parse_args().requests
    with tempfile.TemporaryDirectory() as folder, _service(Path(folder)) as api:
        _register(api)
        health = _measure(lambda: api.get("/healthz"), requests)
        create = _measure(lambda: api.post("/runs", json={"dataset": "cells", "preset": "demo"}), requests)
        read = _measure(lambda: api.get("/runs", params={"limit": 50}), requests)
    print(json.dumps({"requests": requests, "get_healthz": health, "post_runs": create, "list_runs": read}, indent=2))


def _measure(request: Callable[[], httpx.Response], times: int) -> dict[str, float]:
    """Milliseconds, one request after the other on one connection; the first ten warm up."""
    taken = []
    for _ in range(times + 10):
        began = time.perf_counter()
        request().raise_for_status()
        taken.append(1000 * (time.perf_counter() - began))
    cuts = statistics.quantiles(taken[10:], n=100)
    return {"p50_ms": round(cuts[49], 2), "p95_ms": round(cuts[94], 2), "p99_ms": round(cuts[98], 2)}


def _register(api: httpx.Client) -> None:
    source = {"kind": "folder", "root": "data", "path": "."}
    api.post("/datasets", json={"name": "cells", "source": source}).raise_for_status()


@contextmanager
def _service(folder: Path) -> Iterator[httpx.Client]:
    folder.chmod(0o755)
    images = folder / "images"
    images.mkdir()
    (images / "a.jpg").write_bytes(b"jpg")
    with Servers(folder / "servers") as servers:
        settings = Settings(
            database_url=SecretStr(servers.postgres.url("postgres")),
            broker_url=SecretStr(servers.valkey.url(0)),
            storage_root=folder / "storage",
            dataset_roots={"data": images},
        )
        upgrade(settings.database_url.get_secret_value())
        server = uvicorn.Server(uvicorn.Config(create_app(settings), port=0, log_level="warning"))
        thread = threading.Thread(target=server.run)
        thread.start()
        while not server.started:
            time.sleep(0.01)
        port = server.servers[0].sockets[0].getsockname()[1]
        with httpx.Client(base_url=f"http://127.0.0.1:{port}") as api:
            yield api
        server.should_exit = True
        thread.join()


if __name__ == "__main__":
    main()
