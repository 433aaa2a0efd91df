"""Images per second of ingest beside a bare loop that decodes and resizes the same files with Pillow.

`python -m benchmarks.ingest --source FOLDER` prints JSON. Both sides run in turn within one run, first with one
process, then with one per core; the files lie in the page cache already.
"""

import argparse
import json
import math
import os
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path

from PIL import Image

from worker.config.ingest import IngestConfig
from worker.data.scan import scan_folder
from worker.stages.ingest import IngestInputs, run
from worker.stages.standalone import LocalContext


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--source", type=Path, required=True, help="folder of images")
    parser.add_argument("--side", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    files = [arguments.source / path for path in scan_folder(arguments.source).paths]
    for file in files:
        file.read_bytes()
    cores = len(os.sched_getaffinity(0))
    report = {
        "images": len(files),
        "side": arguments.side,
        "cores": cores,
        "one_process": compare(files, arguments.source, arguments.side, 1, arguments.rounds),
        "all_cores": compare(files, arguments.source, arguments.side, cores, arguments.rounds),
    }
    print(json.dumps(report, indent=2))


def compare(files: list[Path], source: Path, side: int, processes: int, rounds: int) -> dict[str, float]:
    """Both in turn, `rounds` times; the best of each counts, which a busy machine disturbs least."""
    raw, ingest = Cost(), Cost()
    for _ in range(rounds):
        raw.best(partial(raw_loop, files, side, processes))
        ingest.best(partial(ingest_all, source, side, processes))
    return {
        "raw_images_per_second": round(len(files) / raw.wall, 1),
        "ingest_images_per_second": round(len(files) / ingest.wall, 1),
        "ingest_over_raw": round(raw.wall / ingest.wall, 3),
        "raw_cpu_ms_per_image": round(raw.cpu / len(files) * 1000, 3),
        "ingest_cpu_ms_per_image": round(ingest.cpu / len(files) * 1000, 3),
        "ingest_over_raw_by_cpu_time": round(raw.cpu / ingest.cpu, 3),
    }


@dataclass
class Cost:
    """The least seconds seen, by the clock and by the processors (child processes included)."""

    wall: float = math.inf
    cpu: float = math.inf

    def best(self, work: Callable[[], None]) -> None:
        before, started = sum(os.times()[:4]), time.perf_counter()
        work()
        self.wall = min(self.wall, time.perf_counter() - started)
        self.cpu = min(self.cpu, sum(os.times()[:4]) - before)


def raw_loop(files: list[Path], side: int, processes: int) -> None:
    """Decode, resize the shorter side, cut the centre; nothing is hashed, checked or kept."""
    if processes == 1:
        for file in files:
            decode_and_resize(side, file)
        return
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        for _ in pool.map(partial(decode_and_resize, side), files, chunksize=32):
            pass


def decode_and_resize(side: int, file: Path) -> None:
    with Image.open(file) as image:
        scale = side / min(image.size)
        size = max(side, round(image.width * scale)), max(side, round(image.height * scale))
        left, top = (size[0] - side) // 2, (size[1] - side) // 2
        whole = image.convert("RGB").resize(size, Image.Resampling.BICUBIC)
        whole.crop((left, top, left + side, top + side)).tobytes()


def ingest_all(source: Path, side: int, processes: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        config = IngestConfig(side=side, labels="none", processes=processes)
        run(config, IngestInputs(source=source), LocalContext(Path(folder)))


if __name__ == "__main__":
    main()
