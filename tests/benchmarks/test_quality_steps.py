"""What is done is not done again; what was stopped goes on."""

from pathlib import Path

import pytest

from benchmarks.quality_steps import Steps
from worker.config.base import StageConfig
from worker.config.pipeline import ArtifactKind
from worker.stages.contract import Context, Inputs, Produced, Result


class CountConfig(StageConfig):
    to: int = 3


class CountInputs(Inputs):
    start: Path


class CountResult(Result):
    count: Produced


class Counter:
    """A stage that counts, leaves what it counted in its work directory, and fails once where it is told to."""

    def __init__(self) -> None:
        self.calls: list[Path | None] = []
        self.fails = False

    def run(self, config: CountConfig, inputs: CountInputs, context: Context) -> CountResult:
        self.calls.append(context.resume_from)
        if self.fails:
            (context.workdir / "state").write_text("half")
            raise KeyboardInterrupt
        folder = context.workdir / "count"
        folder.mkdir()
        (folder / "number").write_text(str(int((inputs.start / "number").read_text()) + config.to))
        return CountResult(count=Produced(kind=ArtifactKind.report, path=folder, summary={"k": config.to}))


@pytest.fixture
def start(tmp_path: Path) -> Path:
    folder = tmp_path / "given" / "start"
    folder.mkdir(parents=True)
    (folder / "number").write_text("1")
    return folder


def test_a_finished_step_is_read_from_disk(tmp_path: Path, start: Path) -> None:
    counter = Counter()
    for _ in range(2):
        step = Steps(tmp_path / "out", "cpu").take("count", counter.run, CountConfig(), CountInputs, {"start": start})
        assert (step["count"] / "number").read_text() == "4"
        assert step.facts["summary"] == {"count": {"k": 3}}
    assert len(counter.calls) == 1


def test_another_config_or_another_input_is_another_step(tmp_path: Path, start: Path) -> None:
    counter, steps = Counter(), Steps(tmp_path / "out", "cpu")
    first = steps.take("count", counter.run, CountConfig(), CountInputs, {"start": start})
    steps.take("count", counter.run, CountConfig(to=5), CountInputs, {"start": start})
    second = steps.take("count", counter.run, CountConfig(), CountInputs, {"start": first["count"]})
    assert (second["count"] / "number").read_text() == "7"
    assert len(counter.calls) == 3


def test_two_folders_of_one_parent_are_two_inputs(tmp_path: Path, start: Path) -> None:
    counter, steps = Counter(), Steps(tmp_path / "out", "cpu")
    beside = start.parent / "beside"
    beside.mkdir()
    (beside / "number").write_text("10")
    numbers = [
        (
            steps.take("count", counter.run, CountConfig(), CountInputs, {"start": folder})["count"] / "number"
        ).read_text()
        for folder in (start, beside)
    ]
    assert numbers == ["4", "13"]


def test_a_stopped_step_goes_on_from_what_it_left(tmp_path: Path, start: Path) -> None:
    counter, steps = Counter(), Steps(tmp_path / "out", "cpu")
    counter.fails = True
    with pytest.raises(KeyboardInterrupt):
        steps.take("count", counter.run, CountConfig(), CountInputs, {"start": start})
    counter.fails = False
    steps.take("count", counter.run, CountConfig(), CountInputs, {"start": start})
    first, second = counter.calls
    assert first is None
    assert second is not None
    assert not second.exists()  # taken away once the step was done
