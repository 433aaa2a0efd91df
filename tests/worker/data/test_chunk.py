import os
import select
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.worker.data.drawing import write_image
from worker.data.chunk import Chunk, decode_chunk
from worker.data.decode import decode
from worker.data.store import Problem, StoredImage

POOL = """
import os, time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from worker.data.chunk import die_with_parent

pool = ProcessPoolExecutor(1, mp_context=get_context("spawn"), initializer=die_with_parent)
print(pool.submit(os.getpid).result(), flush=True)
time.sleep(600)
"""


def chunk(root: Path, *paths: str) -> Chunk:
    (root / "images.u8").touch()
    labels = tuple("x" for _ in paths)
    return Chunk(root, paths, labels, root / "images.u8", first_row=2, side=32, max_pixels=10**6)


def test_pixels_go_to_the_rows_of_their_paths(tmp_path: Path) -> None:
    content = write_image(tmp_path / "b.png", 0)
    (tmp_path / "a.png").write_bytes(b"broken")
    bad, missing, good = decode_chunk(chunk(tmp_path, "a.png", "none.png", "b.png"))
    assert isinstance(bad, Problem)
    assert missing == Problem("none.png", "unreadable", "No such file or directory")
    assert isinstance(good, StoredImage)
    assert (good.path, good.bytes, good.width, good.height, good.label) == ("b.png", len(content), 40, 40, "x")
    rows = np.fromfile(tmp_path / "images.u8", np.uint8).reshape(-1, 32, 32, 3)
    assert len(rows) == 5
    np.testing.assert_array_equal(rows[4], decode(content, 32, 10**6).pixels)


def test_a_store_that_is_gone_is_an_error_of_the_whole_chunk(tmp_path: Path) -> None:
    lost = chunk(tmp_path, "a.png")
    lost.pixels_path.unlink()
    with pytest.raises(FileNotFoundError):
        decode_chunk(lost)


def test_decoding_processes_end_with_their_killed_parent() -> None:
    with subprocess.Popen([sys.executable, "-c", POOL], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        child = os.pidfd_open(int(parent.stdout.readline()))
        parent.send_signal(signal.SIGKILL)
        ended, _, _ = select.select([child], [], [], 60)
        os.close(child)
    assert ended
