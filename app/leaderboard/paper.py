"""The rows of Tables 3 to 6 as the paper prints them (Noroozi et al., CVPR 2018): quoted, never measured here.

A line is a row: method, reference the authors took the numbers from (empty: measured by themselves), cells in percent.
`-` is printed where a number is missing, `*` marks what the paper prints in bold.
"""

from dataclasses import dataclass

from worker.config.scores import Table

CONV = ("conv1", "conv2", "conv3", "conv4", "conv5")

COLUMNS: dict[Table, tuple[str, ...]] = {
    3: ("class", "det_ss", "det_ms", "segm"),
    4: CONV,
    5: CONV,
    6: (*CONV, "fc6", "fc7"),
}

HEADINGS = {"class": "Class.", "det_ss": "Det. SS", "det_ms": "Det. MS", "segm": "Segm."}
"""As printed, where they aren't the column's own name."""

TITLES: dict[Table, str] = {
    3: "PASCAL VOC fine-tuning",
    4: "Linear classifiers on frozen layers, on the dataset of the pretraining",
    5: "Linear classifiers on frozen layers, on another dataset",
    6: "Nonlinear classifiers above frozen layers",
}

SETTINGS: dict[Table, str] = {
    3: "The paper: AlexNet fine-tuned on VOC; mAP of classification and detection (one and several scales), mean IoU.",
    4: "The paper: AlexNet, ImageNet, 1000 classes, maps of at most about 9,000 values; top-1.",
    5: "The paper: AlexNet pretrained on ImageNet, Places, 205 classes; top-1.",
    6: "The paper: AlexNet, ImageNet, everything above the frozen layers trained anew, 10 crops; top-1.",
}

CAUTION = (
    "On other images and classes than the paper's a number can't be held against the paper's number: "
    "compare the order of the methods, and the gaps between them."
)

PRINTED: dict[Table, str] = {
    3: """
        Supervised [17]                 |      | 79.9  | 59.1  | 59.8  | 48.0
        CC+HOG [6]                      |      | 70.2  | 53.2  | 53.5  | 39.2
        Random                          | [27] | 53.3  | 43.4  | -     | 19.8
        ego-motion [1]                  | [1]  | 54.2  | 43.9  | -     | -
        BiGAN [9]                       | [9]  | 58.6  | 46.2  | -     | 34.9
        ContextEncoder [27]             | [27] | 56.5  | 44.5  | -     | 29.7
        Video [32]                      | [16] | 63.1  | 47.2  | -     | -
        Colorization [39]               | [39] | 65.9  | 46.9  | -     | 35.6
        Split-Brain [40]                | [40] | 67.1  | 46.7  | -     | 36.0
        Context [7]                     | [16] | 55.3  | 46.6  | -     | -
        Context [7]*                    | [16] | 65.3  | 51.1  | -     | -
        Counting [23]                   | [23] | 67.7  | 51.4  | -     | 36.6
        WatchingObjectsMove [26]        | [26] | 61.0  | -     | 52.2  | -
        Jigsaw [21]                     | [21] | 67.7  | 53.2  | -     | -
        Jigsaw++                        |      | 69.8  | 55.5  | 55.7  | 38.1
        CC+Context-ColorDrop [7]        |      | 67.9  | 52.8  | 53.4  | -
        CC+Context-ColorProjection [7]  |      | 66.7  | 51.5  | 51.8  | -
        CC+Jigsaw++                     |      | 69.9  | 55.0  | 55.8  | 40.0
        [37]+vgg-Jigsaw++               |      | 70.6  | 54.8  | 55.2  | 38.0
        CC+vgg-Context [7]              |      | 68.0  | 53.0  | 53.5  | -
        CC+vgg-Jigsaw++                 |      | 72.5* | 56.5* | 57.2* | 42.6*
    """,
    4: """
        Supervised [17]                 | [40] | 19.3  | 36.3  | 44.2  | 48.3  | 50.5
        CC+HOG [6]                      |      | 16.8  | 27.4  | 20.7  | 32.0  | 29.1
        Random                          | [40] | 11.6  | 17.1  | 16.9  | 16.3  | 14.1
        Context [7]                     | [40] | 16.2  | 23.3  | 30.2  | 31.7  | 29.6
        ContextEncoder [27]             | [40] | 14.1  | 20.7  | 21.0  | 19.8  | 15.5
        BiGAN [9]                       | [40] | 17.7  | 24.5  | 31.0  | 29.9  | 28.0
        Colorization [39]               | [40] | 12.5  | 24.5  | 30.4  | 31.5  | 30.3
        Split-Brain [40]                | [40] | 17.7  | 29.3  | 35.4  | 35.2  | 32.8
        Counting [23]                   | [23] | 18.0  | 30.6  | 34.3  | 32.5  | 25.7
        Jigsaw++                        |      | 18.2  | 28.7  | 34.1  | 33.2  | 28.0
        CC+Jigsaw++                     |      | 18.9  | 30.5  | 35.7  | 35.4  | 32.2
        CC+vgg-Jigsaw++                 |      | 19.2* | 32.0* | 37.3* | 37.1* | 34.6*
    """,
    5: """
        Places labels [41]              |      | 22.1  | 35.1  | 40.2  | 43.3  | 44.6
        ImageNet labels [17]            |      | 22.7  | 34.8  | 38.4  | 39.4  | 38.7
        CC+HOG [6]                      |      | 20.3  | 30.0  | 31.8  | 32.5  | 29.8
        Random                          |      | 15.7  | 20.3  | 19.8  | 19.1  | 17.5
        Context [7]                     |      | 19.7  | 26.7  | 31.9  | 32.7  | 30.9
        Jigsaw [22]                     |      | 23.0  | 31.9  | 35.0  | 34.2  | 29.3
        Context encoder [27]            |      | 18.2  | 23.2  | 23.4  | 21.9  | 18.4
        Sound [25]                      |      | 19.9  | 29.3  | 32.1  | 28.8  | 29.8
        BiGAN [9]                       |      | 22.0  | 28.7  | 31.8  | 31.3  | 29.7
        Colorization [39]               |      | 16.0  | 25.7  | 29.6  | 30.3  | 29.7
        Split-Brain [40]                |      | 21.3  | 30.7  | 34.0  | 34.1  | 32.5
        Counting [23]                   |      | 23.3* | 33.9  | 36.3  | 34.7  | 29.6
        Jigsaw++                        |      | 22.0  | 31.2  | 34.3  | 33.9  | 22.9
        CC+Jigsaw++                     |      | 22.5  | 33.0  | 36.2  | 36.1  | 34.0
        CC+vgg-Jigsaw++                 |      | 22.9  | 34.2* | 37.5* | 37.1* | 34.4*
    """,
    6: """
        Supervised [17]                 | [17] | 57.3  | 57.3  | 57.3  | 57.3  | 57.3  | -     | -
        Random                          | [21] | 48.5  | 41.0  | 34.8  | 27.1  | 12.0  | -     | -
        Video [32]                      | [21] | 51.8  | 46.9  | 42.8  | 38.8  | 29.8  | -     | -
        BiGAN [9]                       | [9]  | 55.3  | 53.2  | 49.3  | 44.4  | 34.9  | -     | -
        Counting [23]                   | [23] | 54.7  | 52.7  | 48.2  | 43.3  | 32.9  | -     | -
        Context [7]                     | [21] | 53.1  | 47.6  | 48.7  | 45.6  | 30.4  | -     | -
        Jigsaw [21]                     | [21] | 54.7  | 52.8  | 49.7  | 45.3  | 34.6  | -     | -
        Jigsaw++                        |      | 54.7  | 52.9  | 50.3  | 46.1  | 35.4  | -     | -
        CC+vgg-Context                  |      | 55.0  | 52.0  | 48.2  | 44.3  | 37.9  | 29.1  | 20.3
        CC+Jigsaw++                     |      | 55.3  | 52.2  | 51.4  | 47.6  | 41.1  | 33.9  | 25.9
        CC+vgg-Jigsaw++                 |      | 55.9* | 55.1* | 52.4* | 49.5* | 43.9* | 37.3* | 27.9*
    """,
}

SUSPICIOUS: dict[tuple[Table, str, str], str] = {
    (4, "CC+HOG [6]", "conv3"): "Printed so in the paper, but out of line with its neighbours: perhaps 29.7 or 30.7.",
    (5, "Jigsaw++", "conv5"): "Out of line with its neighbours: 28 to 29 would be expected, as Table 4 has 28.0 there.",
}
"""(table, method, column) -> why the cell is doubtful; it is quoted all the same."""


@dataclass(frozen=True)
class QuotedCell:
    text: str
    """As printed, in percent; `-` where the paper has no number."""
    bold: bool
    doubt: str | None

    @property
    def value(self) -> float | None:
        """A share, 0..1."""
        return None if self.text == "-" else round(float(self.text) / 100, 4)


@dataclass(frozen=True)
class QuotedRow:
    method: str
    ref: str
    """Where the paper took the numbers from; empty for its own measurements. Table 5 prints no such column."""
    cells: dict[str, QuotedCell]


def quoted_rows(table: Table) -> list[QuotedRow]:
    """The paper's rows in the paper's order."""
    return [_row(table, line) for line in PRINTED[table].strip().splitlines()]


def _row(table: Table, line: str) -> QuotedRow:
    method, ref, *texts = (part.strip() for part in line.split("|"))
    cells = {
        column: QuotedCell(text.removesuffix("*"), text.endswith("*"), SUSPICIOUS.get((table, method, column)))
        for column, text in zip(COLUMNS[table], texts, strict=True)
    }
    return QuotedRow(method, ref, cells)
