"""Files of proposals, also beside NumPy's own reader and writer."""

import io
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as drawn
from numpy.typing import NDArray

from tests.worker.data.npz import saved
from worker.data.proposals import FILE, MAX_BOXES, ProposalsReader, ProposalsWriter

BOXES = np.array([[0, 1, 20, 10], [5, 5, 9, 29]], np.float32)
ID = "VOC2007/1"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / FILE


def npy(values: NDArray[Any]) -> bytes:
    content = io.BytesIO()
    np.save(content, values)
    return content.getvalue()


def read(path: Path) -> NDArray[Any]:
    with ProposalsReader(path) as file:
        found = file.read(ID)
    assert found is not None
    return found


def refusal(path: Path) -> str:
    with pytest.raises(ValueError, match=r".") as error:
        read(path)
    return str(error.value)


@given(
    drawn.arrays(
        st.sampled_from([np.dtype(name) for name in ("f2", "f4", "f8", "u2", "i4", ">i8")]),
        st.tuples(st.integers(0, 5), st.just(4)),
    ),
    st.booleans(),
    st.sampled_from([np.savez, np.savez_compressed]),
)
def test_whatever_numbers_numpy_writes_are_read(values: NDArray[Any], fortran: bool, save: Any) -> None:  # noqa: ANN401
    file = io.BytesIO()
    save(file, **{ID: np.asfortranarray(values) if fortran else values})
    with ProposalsReader(file) as reader:  # type: ignore[arg-type]
        found = reader.read(ID)
        assert list(reader.ids) == [ID]
        assert reader.read("VOC2007/2") is None
    assert found is not None
    np.testing.assert_array_equal(found, values)
    assert found.dtype == values.dtype


def test_numpy_reads_what_is_written_and_equal_boxes_make_equal_files(path: Path) -> None:
    for again in (path, path.with_name("again.npz")):
        writer = ProposalsWriter(again)
        writer.add(ID, BOXES)
        writer.add("VOC2012/ä b", BOXES[:0])
        writer.close()
    with np.load(path) as file:
        assert file.files == [ID, "VOC2012/ä b"]
        np.testing.assert_array_equal(file[ID], BOXES)
        assert file["VOC2012/ä b"].shape == (0, 4)
    assert path.read_bytes() == path.with_name("again.npz").read_bytes()


def test_an_empty_list_is_no_boxes(path: Path) -> None:
    saved(path, {ID: np.array([])})
    assert read(path).shape == (0, 4)


OTHER_ARRAYS = [
    (BOXES[:, :3], r"the shape (2, 3), not (n, 4)"),
    (BOXES[0], r"the shape (4,), not (n, 4)"),
    (BOXES[None], r"the shape (1, 2, 4), not (n, 4)"),
    (np.array([["0", "1", "2", "3"]]), "not of numbers"),
    (BOXES.astype(complex), "not of numbers"),
    (BOXES > 3, "not of numbers"),
    (BOXES.astype(np.longdouble), "not of numbers"),
    (np.zeros(2, [("x1", "f4"), ("y1", "f4")]), "not of numbers"),
    (np.broadcast_to(BOXES[:1], (MAX_BOXES + 1, 4)), "more than 100,000 boxes"),
]


@pytest.mark.parametrize(("values", "words"), OTHER_ARRAYS)
def test_other_arrays_are_refused(path: Path, values: NDArray[Any], words: str) -> None:
    saved(path, {ID: values})
    assert words in refusal(path)


class Harmful:
    """Unpickling it would be noticed."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (pytest.fail, ("something was unpickled",))


@pytest.mark.parametrize("shape", [(1, 4), ()])
def test_pickled_objects_are_never_read(path: Path, shape: tuple[int, ...]) -> None:
    values = np.empty(shape, object)
    values[...] = Harmful()
    saved(path, {ID: values})
    assert "pickled objects" in refusal(path)


@pytest.mark.parametrize("content", [b"", b"no archive", b"PK\x03\x04 broken", npy(BOXES)])
def test_files_of_another_kind_are_refused(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    assert refusal(path) == "it is no .npz file, or a damaged one"


HEADER = "{'descr': '<f4', 'fortran_order': False, 'shape': (%d, 4), }"


def claiming(count: int, version: int = 1) -> bytes:
    header = (HEADER % count).encode()
    return b"\x93NUMPY" + bytes([version, 0]) + len(header).to_bytes(2, "little") + header + BOXES.tobytes()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "damaged"),
        (b"no array", "damaged"),
        (npy(BOXES)[:-1], "more or fewer numbers"),
        (npy(BOXES) + b"\0", "more or fewer numbers"),
        (claiming(3), "more or fewer numbers"),
        (claiming(10**15), "more than 100,000 boxes"),
        (claiming(-1), "more or fewer numbers"),
        (claiming(2, version=3), "format 3.0"),
        (claiming(2).replace(b"'shape'", b"'shade'"), "damaged"),
    ],
)
def test_damaged_arrays_are_refused_before_memory_is_taken(path: Path, content: bytes, words: str) -> None:
    with zipfile.ZipFile(path, "w") as file:
        file.writestr(f"{ID}.npy", content)
    assert words in refusal(path)


def test_changed_bytes_are_noticed(path: Path) -> None:
    saved(path, {ID: BOXES})
    content = path.read_bytes()
    path.write_bytes(content.replace(BOXES.tobytes(), (BOXES + 1).tobytes()))
    assert "damaged" in refusal(path)


def test_a_member_that_unpacks_to_endless_zeros_is_not_unpacked_whole(path: Path) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr(f"{ID}.npy", claiming(2) + bytes(64 << 20))
    assert "more or fewer numbers" in refusal(path)
