"""Reading .npy without numpy gives what numpy wrote."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.artifacts.npy import read_float32, read_int32


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=25)
@given(values=st.lists(st.integers(-(2**31), 2**31 - 1), min_size=1))
def test_numbers_come_back(tmp_path: Path, values: list[int]) -> None:
    np.save(tmp_path / "a.npy", np.array(values, np.int32))
    assert read_int32(tmp_path / "a.npy").tolist() == values
    np.save(tmp_path / "b.npy", np.array(values, np.float32))
    assert read_float32(tmp_path / "b.npy").tolist() == np.array(values, np.float32).tolist()


@pytest.mark.parametrize(
    "array", [np.zeros(3), np.zeros((2, 2), np.float32), np.zeros(3, ">f4"), np.zeros(3, np.int32)]
)
def test_other_arrays_are_refused(tmp_path: Path, array: "np.ndarray[tuple[int, ...], np.dtype[np.float32]]") -> None:
    np.save(tmp_path / "a.npy", array)
    with pytest.raises(ValueError, match="not a <f4 row"):
        read_float32(tmp_path / "a.npy")


def test_a_cut_file_is_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.zeros(10, np.float32))
    (tmp_path / "a.npy").write_bytes((tmp_path / "a.npy").read_bytes()[:-4])
    with pytest.raises(ValueError, match="not a <f4 row"):
        read_float32(tmp_path / "a.npy")


def test_another_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.npy").write_bytes(b"PK" * 50)
    with pytest.raises(ValueError, match=r"no \.npy file"):
        read_int32(tmp_path / "a.npy")
