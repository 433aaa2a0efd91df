"""The share of the gap, against the paper's own table."""

from pathlib import Path

import numpy as np
import pytest

from benchmarks.quality_recipe import cpu_recipe
from benchmarks.quality_report import PAPER_SHARES, Proof
from worker.config.scores import Cell, ProtocolName, ScoreSheet

PAPER = {
    "random": (11.6, 17.1, 16.9, 16.3, 14.1),
    "supervised": (19.3, 36.3, 44.2, 48.3, 50.5),
    "jigsaw++": (18.2, 28.7, 34.1, 33.2, 28.0),
    "cc+jigsaw++": (18.9, 30.5, 35.7, 35.4, 32.2),
    "cc+vgg-jigsaw++": (19.2, 32.0, 37.3, 37.1, 34.6),
}
"""Table 4."""


def _judged(folder: Path, values: tuple[float, ...]) -> Path:
    folder.mkdir(parents=True)
    cells = {
        f"conv{layer}": Cell(value=value / 100, low=value / 100 - 0.01, high=value / 100 + 0.01, interval="", n=100)
        for layer, value in enumerate(values, start=1)
    }
    sheet = ScoreSheet(protocol=ProtocolName.linear, metric="top1", cells=cells, dataset="d")
    (folder / "evaluation.json").write_text(sheet.model_dump_json())
    for layer, value in enumerate(values, start=1):
        np.save(folder / f"right_conv{layer}.npy", (np.arange(1000) < 10 * value).astype(np.float32))
    return folder


def test_the_papers_shares_follow_from_its_table(tmp_path: Path) -> None:
    proof = Proof(cpu_recipe(), {}, {})
    for name, values in PAPER.items():
        proof.add_probe(name, _judged(tmp_path / name, values))
    lines = proof.text().splitlines()
    for name, shares in PAPER_SHARES.items():
        ours, papers = (
            next(line for line in lines if line.startswith(f"| {start} |") and "%" in line)
            for start in (name, f"{name}, paper's Table 4")
        )
        assert ours.split("|")[2:] == papers.split("|")[2:]
        assert shares[3] == pytest.approx((PAPER[name][3] - 16.3) / (48.3 - 16.3), abs=5e-4)


def test_methods_are_compared_image_by_image_with_the_one_above(tmp_path: Path) -> None:
    proof = Proof(cpu_recipe(), {}, {})
    for name in ("random", "supervised"):
        proof.add_probe(name, _judged(tmp_path / name, PAPER[name]))
    pair = next(line for line in proof.text().splitlines() if line.startswith("| supervised - random"))
    assert "**+32.0 (" in pair


def test_without_both_ends_of_the_gap_no_share_is_told(tmp_path: Path) -> None:
    proof = Proof(cpu_recipe(), {}, {})
    proof.add_probe("jigsaw++", _judged(tmp_path / "jigsaw++", PAPER["jigsaw++"]))
    assert "Share of the gap" not in proof.text()


def test_several_networks_of_a_method_count_together(tmp_path: Path) -> None:
    proof = Proof(cpu_recipe(), {}, {})
    for network, name in enumerate(("random", "jigsaw++")):
        proof.add_probe("random", _judged(tmp_path / f"{network}", PAPER[name]))
    proof.add_probe("supervised", _judged(tmp_path / "supervised", PAPER["supervised"]))
    text = proof.text()
    assert "| random | 14.9 (" in text  # (11.6 + 18.2) / 2
    assert "| random | 11.6 18.2 | 17.1 28.7 |" in text
    assert "| supervised - random | **+4.4 (" in text


def test_one_network_a_method_is_told_once(tmp_path: Path) -> None:
    proof = Proof(cpu_recipe(), {}, {})
    proof.add_probe("random", _judged(tmp_path / "random", PAPER["random"]))
    assert "Network by network" not in proof.text()
