import gzip
import io
import lzma
import os
import shutil
import stat
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from worker.config.reasons import Reason
from worker.data.archive import ArchiveLimits, unpack
from worker.stages.contract import StageError, Stopped

LIMITS = ArchiveLimits(max_files=100, max_bytes=1 << 24, max_ratio=200)
MIB = 1 << 20


def member(name: str, kind: bytes = tarfile.REGTYPE, **attributes: object) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type = kind
    for key, value in attributes.items():
        setattr(info, key, value)
    return info


def tar(path: Path, *members: tarfile.TarInfo | tuple[str, bytes], mode: str = "w") -> Path:
    with tarfile.open(path, mode) as archive:
        for entry in members:
            if isinstance(entry, tarfile.TarInfo):
                archive.addfile(entry)
            else:
                name, content = entry
                archive.addfile(member(name, size=len(content)), io.BytesIO(content))
    return path


def zipped(path: Path, *members: tuple[str | zipfile.ZipInfo, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members:
            archive.writestr(name, content)
    return path


def special(name: str, kind: int) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name)
    info.external_attr = (kind | 0o777) << 16
    return info


def unpacked(archive: Path, limits: ArchiveLimits = LIMITS) -> dict[str, bytes]:
    target = archive.parent / "unpacked"
    unpack(archive, target, limits, lambda done, total: None)
    files = {str(file.relative_to(target)): file.read_bytes() for file in target.rglob("*") if file.is_file()}
    shutil.rmtree(target)
    return files


def refusal(archive: Path, limits: ArchiveLimits = LIMITS) -> str:
    before = sorted(archive.parent.rglob("*"))
    with pytest.raises(StageError) as error:
        unpacked(archive, limits)
    assert error.value.reason is Reason.archive_refused
    assert sorted(archive.parent.rglob("*")) == before, "something was left behind"
    return str(error.value)


FILES = (("a.txt", b"one"), ("sub/deep/b.txt", b"two" * 1000), ("empty", b""), ("odd", bytes(511)))
MAKERS: dict[str, Callable[[Path], Path]] = {
    ".tar": lambda path: tar(path, member("sub", tarfile.DIRTYPE), *FILES),
    ".tar.gz": lambda path: tar(path, *FILES, mode="w:gz"),
    ".tgz": lambda path: tar(path, *FILES, mode="w:gz"),
    ".tar.xz": lambda path: tar(path, *FILES, mode="w:xz"),
    ".zip": lambda path: zipped(path, ("sub/", b""), *FILES),
}


@pytest.mark.parametrize("suffix", MAKERS)
def test_every_kind_is_unpacked_whole(tmp_path: Path, suffix: str) -> None:
    assert unpacked(MAKERS[suffix](tmp_path / f"photos{suffix}")) == dict(FILES)


@pytest.mark.parametrize("suffix", MAKERS)
def test_the_kind_is_told_by_the_content(tmp_path: Path, suffix: str) -> None:
    assert unpacked(MAKERS[suffix](tmp_path / f"photos{suffix}").rename(tmp_path / "upload")) == dict(FILES)


@pytest.mark.parametrize(
    "name", ["/etc/evil", "../evil", "a/../../evil", "a/..", "C:/evil", "a/" * 70 + "b", "x" * 300]
)
def test_members_that_lead_elsewhere_are_refused_by_name(tmp_path: Path, name: str) -> None:
    for archive in (tar(tmp_path / "x.tar", (name, b"x")), zipped(tmp_path / "x.zip", (name, b"x"))):
        assert repr(name) in refusal(archive)


def test_backslashes_in_a_zip_are_folders_and_climb_nowhere(tmp_path: Path) -> None:
    assert unpacked(zipped(tmp_path / "good.zip", ("sub\\a.txt", b"x"))) == {"sub/a.txt": b"x"}
    assert ".." in refusal(zipped(tmp_path / "bad.zip", ("..\\..\\evil", b"x")))


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE])
def test_links_and_devices_in_a_tar_are_refused_by_name(tmp_path: Path, kind: bytes) -> None:
    archive = tar(tmp_path / "x.tar", ("good", b"x"), member("evil", kind, linkname="/etc/passwd"))
    assert "'evil'" in refusal(archive)


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFCHR, stat.S_IFIFO])
def test_links_and_devices_in_a_zip_are_refused_by_name(tmp_path: Path, kind: int) -> None:
    assert "'evil'" in refusal(zipped(tmp_path / "x.zip", ("good", b"x"), (special("evil", kind), b"/etc/passwd")))


@pytest.mark.parametrize("maker", [tar, zipped])
def test_two_members_at_one_path_are_refused(tmp_path: Path, maker: Callable[..., Path]) -> None:
    assert "same path" in refusal(maker(tmp_path / "x", ("a", b"1"), ("./a", b"2")))
    assert "same path" in refusal(maker(tmp_path / "x", ("a", b"1"), ("a/b", b"2")))


@pytest.mark.parametrize("maker", [tar, zipped])
def test_too_many_members_are_refused(tmp_path: Path, maker: Callable[..., Path]) -> None:
    archive = maker(tmp_path / "x", *((f"{index}", b"") for index in range(6)))
    assert len(unpacked(archive, ArchiveLimits(6, MIB, 200))) == 6
    assert "more than 5 members" in refusal(archive, ArchiveLimits(5, MIB, 200))


@pytest.mark.parametrize("maker", [tar, zipped])
def test_too_many_bytes_are_refused(tmp_path: Path, maker: Callable[..., Path]) -> None:
    archive = maker(tmp_path / "x", ("big", os.urandom(3 * MIB)))
    assert "more than 2,097,152 bytes" in refusal(archive, ArchiveLimits(10, 2 * MIB, 200))


def test_bombs_are_refused_by_their_ratio(tmp_path: Path) -> None:
    zeros = bytes(8 * MIB)
    for archive in (
        tar(tmp_path / "x.tar.gz", ("big", zeros), mode="w:gz"),
        tar(tmp_path / "x.tar.xz", ("big", zeros), mode="w:xz"),
        zipped(tmp_path / "x.zip", ("big", zeros)),
    ):
        assert "200 times its size" in refusal(archive)


def test_a_zip_whose_header_lies_about_the_size_is_refused(tmp_path: Path) -> None:
    archive = zipped(tmp_path / "x.zip", ("big", bytes(8 * MIB)))
    content = archive.read_bytes().replace((8 * MIB).to_bytes(4, "little"), (10).to_bytes(4, "little"))
    archive.write_bytes(content)
    assert "'big'" in refusal(archive)


def test_a_tar_header_without_end_is_not_read_into_memory(tmp_path: Path) -> None:
    header = member("x", tarfile.XHDTYPE, size=1 << 32).tobuf(tarfile.USTAR_FORMAT)
    (tmp_path / "x.tar").write_bytes(header + bytes(4096))
    assert "endless header" in refusal(tmp_path / "x.tar")


def test_encrypted_zips_are_refused(tmp_path: Path) -> None:
    archive = zipped(tmp_path / "x.zip", ("a", b"secret"))
    content = bytearray(archive.read_bytes())
    content[content.index(b"PK\x01\x02") + 8] |= 1
    archive.write_bytes(content)
    assert "encrypted" in refusal(archive)


@pytest.mark.parametrize("suffix", MAKERS)
@given(share=st.floats(0.01, 0.99))
@settings(max_examples=15)
def test_truncated_archives_are_refused(tmp_path_factory: pytest.TempPathFactory, suffix: str, share: float) -> None:
    archive = MAKERS[suffix](tmp_path_factory.mktemp("cut") / f"photos{suffix}")
    kept = archive.read_bytes() if suffix != ".tar" else archive.read_bytes()[: 5 * 1024]
    archive.write_bytes(kept[: int(len(kept) * share)])
    refusal(archive)


def test_a_tar_cut_between_two_members_is_refused(tmp_path: Path) -> None:
    archive = tar(tmp_path / "x.tar", ("a", bytes(512)), ("b", b"x"))
    archive.write_bytes(archive.read_bytes()[: 2 * 512])
    assert "cut short" in refusal(archive)


@pytest.mark.parametrize("content", [b"", b"no archive", b"PK but no zip", gzip.compress(b"text"), lzma.compress(b"")])
def test_other_files_are_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "photos.zip").write_bytes(content)
    assert "photos.zip" in refusal(tmp_path / "photos.zip")


@pytest.mark.parametrize("suffix", [".tar", ".zip"])
def test_stopping_leaves_nothing_behind(tmp_path: Path, suffix: str) -> None:
    archive = MAKERS[suffix](tmp_path / f"photos{suffix}")
    heard = []

    def stop_at_the_second(done: int, total: int) -> None:
        heard.append((done, total))
        if len(heard) == 2:
            raise Stopped

    with pytest.raises(Stopped):
        unpack(archive, tmp_path / "unpacked", LIMITS, stop_at_the_second)
    assert not (tmp_path / "unpacked").exists()
    assert all(0 <= done <= total == archive.stat().st_size for done, total in heard)
