"""The quality proof as Markdown: probes with intervals, the share of the gap that each method closes, paired tests.

A method's accuracy is the mean over its networks (`--networks`), which all judge the same images.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from statistics import fmean

import numpy as np
from numpy.typing import NDArray

from benchmarks.quality_recipe import Recipe
from worker.config.scores import Cell, ScoreSheet
from worker.evaluation.interval import paired_difference, wilson
from worker.evaluation.words import table

CONFIDENCE = 0.95
PAPER_SHARES = {
    "jigsaw++": (0.857, 0.604, 0.630, 0.528, 0.382),
    "cc+jigsaw++": (0.948, 0.698, 0.689, 0.597, 0.497),
    "cc+vgg-jigsaw++": (0.987, 0.776, 0.747, 0.650, 0.563),
}
"""(method - random) / (supervised - random) at conv1..conv5, from the paper's Table 4."""


@dataclass
class Proof:
    """What was found so far; `text` is the report."""

    recipe: Recipe
    facts: Mapping[str, str]
    seconds: Mapping[str, float]
    told: dict[str, str] = field(default_factory=dict)
    """Method, and network where there are several -> what was trained for it, in words."""
    checkpoints: dict[str, Path] = field(default_factory=dict)
    """Of each method's first network."""
    failed: dict[str, str] = field(default_factory=dict)
    probes: dict[str, "Judged"] = field(default_factory=dict)
    transfers: dict[str, dict[str, Cell]] = field(default_factory=dict)
    deviations: list[str] = field(default_factory=list)

    def add_probe(self, name: str, folder: Path) -> None:
        """Of one network; a method's second one is added by the same name."""
        self.probes.setdefault(name, Judged()).add(folder)

    def add_transfer(self, name: str, sheet: ScoreSheet) -> None:
        self.transfers.setdefault(name, {}).update(sheet.cells)
        self.deviations += [line for line in sheet.deviations if line not in self.deviations]

    def text(self) -> str:
        taps = next(iter(self.probes.values())).taps if self.probes else []
        rows = [[name, *(_cell(judged.cell(tap)) for tap in taps)] for name, judged in self.probes.items()]
        lines = [
            "# Quality of the methods, one recipe for all",
            "",
            *(f"- {key}: {value}" for key, value in self.facts.items()),
            "",
            "## Linear probes, top-1 in % (interval)",
            "",
            *table(["method", *taps], rows),
            "",
            *_networks(self.probes, taps),
            *_shares(self.probes, taps),
            *_pairs(self.probes, taps),
            *_transfers(self.transfers, self.deviations),
            "## What was trained",
            "",
            *(f"- {name}: {words}" for name, words in self.told.items()),
            *(f"- {name} failed: {words}" for name, words in self.failed.items()),
            "",
            "Seconds: " + ", ".join(f"{name} {taken:.0f}" for name, taken in self.seconds.items()),
            "",
            "Recipe:",
            "",
            "```json",
            self.recipe.model_dump_json(indent=2),
            "```",
        ]
        return "\n".join(lines) + "\n"


class Judged:
    """A method's networks, each probed on the same images."""

    def __init__(self) -> None:
        self.networks: list[ScoreSheet] = []
        self._folders: list[Path] = []

    def add(self, folder: Path) -> None:
        self._folders.append(folder)
        self.networks.append(ScoreSheet.model_validate_json((folder / "evaluation.json").read_text()))

    @property
    def taps(self) -> list[str]:
        return list(self.networks[0].cells)

    def value(self, tap: str) -> float:
        return fmean(sheet.cells[tap].value for sheet in self.networks)

    def cell(self, tap: str) -> Cell:
        """The mean; its interval is over the images (Wilson), as if the networks were fixed."""
        first = self.networks[0].cells[tap]
        if len(self.networks) == 1:
            return first
        found = wilson(self.value(tap), first.n, CONFIDENCE)
        return first.model_copy(update={"value": found.top1, "low": found.low, "high": found.high})

    def right(self, tap: str) -> NDArray[np.float64]:
        """Share of its probes that told each image right, `(images,)`."""
        told = [np.load(folder / f"right_{tap}.npy").astype(np.float64) for folder in self._folders]
        return np.mean(told, axis=0)


def _transfers(transfers: Mapping[str, Mapping[str, Cell]], deviations: list[str]) -> list[str]:
    """Nothing where nothing was fine-tuned."""
    columns = list(dict.fromkeys(column for cells in transfers.values() for column in cells))
    if not columns:
        return []
    rows = [
        [name, *(_cell(cells[column]) if column in cells else "-" for column in columns)]
        for name, cells in transfers.items()
    ]
    notes = [f"- {line}" for line in deviations]
    return [
        "## Fine-tuned on annotated photographs, in % (interval)",
        "",
        *table(["method", *columns], rows),
        "",
        "What differs from the paper's protocols:",
        "",
        *notes,
        "",
    ]


def _networks(probes: Mapping[str, Judged], taps: list[str]) -> list[str]:
    """Nothing where each method was trained once."""
    rows = [
        [name, *(" ".join(f"{100 * sheet.cells[tap].value:.1f}" for sheet in judged.networks) for tap in taps)]
        for name, judged in probes.items()
        if len(judged.networks) > 1
    ]
    return ["## Network by network, top-1 in %", "", *table(["method", *taps], rows), ""] if rows else []


def _shares(probes: Mapping[str, Judged], taps: list[str]) -> list[str]:
    """Nothing where either end of the gap is missing."""
    if not {"random", "supervised"} <= set(probes):
        return []
    low, high = probes["random"], probes["supervised"]
    rows = []
    for name, judged in probes.items():
        if name in ("random", "supervised"):
            continue
        closed = [(judged.value(tap) - low.value(tap)) / (high.value(tap) - low.value(tap)) for tap in taps]
        rows.append([name, *(f"{share:.0%}" for share in closed)])
        if name in PAPER_SHARES:
            rows.append([f"{name}, paper's Table 4", *(f"{share:.0%}" for share in PAPER_SHARES[name])])
    return ["## Share of the gap from random to supervised that is closed", "", *table(["method", *taps], rows), ""]


def _pairs(probes: Mapping[str, Judged], taps: list[str]) -> list[str]:
    """Each method less the one before it, on the same images."""
    rows = [
        [f"{after} - {before}", *(_difference(probes[after], probes[before], tap) for tap in taps)]
        for before, after in pairwise(probes)
    ]
    if not rows:
        return []
    note = "Percentage points (interval of Bonett and Price); bold where it leaves out zero."
    return ["## Each against the one above, on the same images", "", note, "", *table(["pair", *taps], rows), ""]


def _difference(after: Judged, before: Judged, tap: str) -> str:
    found = paired_difference(after.right(tap), before.right(tap), CONFIDENCE)
    text = f"{100 * found.difference:+.1f} ({100 * found.low:+.1f} to {100 * found.high:+.1f})"
    return f"**{text}**" if found.beyond else text


def _cell(cell: Cell) -> str:
    return f"{100 * cell.value:.1f} ({100 * cell.low:.1f}–{100 * cell.high:.1f})"
