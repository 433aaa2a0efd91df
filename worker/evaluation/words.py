"""An evaluation as Markdown: tables, and what they show in plain words."""

from collections.abc import Sequence

from worker.evaluation.contenders import CALIBRATED, RANDOM, STUDENT, TEACHER
from worker.evaluation.interval import Accuracy, Difference
from worker.evaluation.record import Evaluation

NAMES = {
    RANDOM: "untrained",
    CALIBRATED: "untrained, calibrated",
    TEACHER: "teacher",
    STUDENT: "student (distilled)",
}


def evaluation_words(evaluation: Evaluation) -> list[str]:
    """Lines of the section under its heading."""
    if not evaluation.labelled:
        return [evaluation.reason or "Nothing was compared."]
    return [
        *_protocol(evaluation),
        "",
        "**Linear probe, top-1 in % (interval)**",
        "",
        *_table(evaluation, "linear"),
        "",
        f"**{evaluation.protocol['knn']} nearest neighbours, top-1 in % (interval)**",
        "",
        *_table(evaluation, "knn"),
        "",
        "**Student minus the others, linear probe, percentage points (interval); bold where it leaves out zero**",
        "",
        *_differences(evaluation),
        "",
        "### What the numbers show",
        "",
        *_verdict(evaluation),
    ]


def _protocol(evaluation: Evaluation) -> list[str]:
    told = evaluation.protocol
    percent = f"{100 * told['confidence']:g} %"
    lines = [
        f"Frozen features of {told['train']} labelled images taught a linear classifier and a nearest-neighbour vote; "
        f"{told['held_out']} other images judged. There are {len(told['classes'])} classes; always naming the largest "
        f"would be right in {100 * told['majority']:.1f} %. Intervals hold with {percent} confidence over the choice "
        "of images, not over repeated trainings of the networks."
    ]
    if CALIBRATED in evaluation.networks:
        lines += [
            "",
            "*Untrained* is the student's architecture with fresh weights. *Untrained, calibrated* has the same "
            "weights, and batch norm statistics estimated on images, as any training would give them: the harder "
            "baseline, without any learned weight.",
        ]
    if told["dropped_classes"]:
        dropped = ", ".join(f"{name} ({count})" for name, count in told["dropped_classes"].items())
        lines += ["", f"Left out for too few images: {dropped}."]
    return lines


def _table(evaluation: Evaluation, kind: str) -> list[str]:
    rows = [
        [NAMES.get(name, name), *(_accuracy(getattr(result, kind)) for result in taps.values())]
        for name, taps in evaluation.networks.items()
    ]
    return table(["network", *evaluation.networks[STUDENT]], rows)


def _differences(evaluation: Evaluation) -> list[str]:
    rows = [
        [NAMES[_other(pair)], *(_difference(found.linear) for found in taps.values())]
        for pair, taps in evaluation.differences.items()
    ]
    return table(["student minus", *evaluation.networks[STUDENT]], rows)


def _verdict(evaluation: Evaluation) -> list[str]:
    lines = []
    for pair, taps in evaluation.differences.items():
        found = {tap: difference.linear for tap, difference in taps.items()}
        lines.append(f"- Against *{NAMES[_other(pair)]}*: {_compared(found)}.")
    hardest = CALIBRATED if CALIBRATED in evaluation.networks else RANDOM
    found = {tap: difference.linear for tap, difference in evaluation.differences[f"{STUDENT} - {hardest}"].items()}
    return [*lines, "", _conclusion(found, NAMES[hardest], len(evaluation.differences) * len(found), evaluation)]


def _compared(found: dict[str, Difference]) -> str:
    better = [tap for tap, difference in found.items() if difference.beyond and difference.difference > 0]
    worse = [tap for tap, difference in found.items() if difference.beyond and difference.difference < 0]
    alike = [tap for tap, difference in found.items() if not difference.beyond]
    parts = [
        (better, "better beyond the interval"),
        (worse, "worse beyond the interval"),
        (alike, "no clear difference"),
    ]
    return "; ".join(f"{words} at {', '.join(taps)}" for taps, words in parts if taps)


def _conclusion(found: dict[str, Difference], baseline: str, comparisons: int, evaluation: Evaluation) -> str:
    better = sum(difference.beyond and difference.difference > 0 for difference in found.values())
    worse = sum(difference.beyond and difference.difference < 0 for difference in found.values())
    if better and not worse:
        said = f"The student learned something that the {baseline} network lacks, at {better} of {len(found)} layers."
    elif better and worse:
        said = f"The picture is mixed: better than the {baseline} network at {better} of {len(found)} layers and worse "
        said += f"at {worse}."
    elif worse:
        said = (
            f"The student is not better than the {baseline} network at any layer, and worse at {worse} of {len(found)}."
        )
    else:
        said = f"These labels and this many images don't show the student to be better than the {baseline} network."
    doubt = 100 - 100 * evaluation.protocol["confidence"]
    return (
        f"{said} (With {comparisons} comparisons, each wrong in about {doubt:.0f} of 100 cases where nothing differs, "
        "a single one beyond its interval is weak evidence.)"
    )


def _other(pair: str) -> str:
    return pair.removeprefix(f"{STUDENT} - ")


def _accuracy(found: Accuracy) -> str:
    return f"{100 * found.top1:.1f} ({100 * found.low:.1f}–{100 * found.high:.1f})"


def _difference(found: Difference) -> str:
    text = f"{100 * found.difference:+.1f} ({100 * found.low:+.1f} to {100 * found.high:+.1f})"
    return f"**{text}**" if found.beyond else text


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """A Markdown table."""
    return [f"| {' | '.join(cells)} |" for cells in (header, ["---"] * len(header), *rows)]
