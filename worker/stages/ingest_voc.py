"""Ingest of annotated photographs: a folder in PASCAL VOC's layout, or an archive of one -> the annotated store."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from worker.config.ingest_voc import IngestVocConfig
from worker.config.pipeline import ArtifactKind
from worker.config.reasons import Reason
from worker.data.annotated import AnnotatedStoreWriter, Annotation, AnnotationProblem
from worker.data.archive import ArchiveLimits
from worker.data.decode import ImageProblem, decode_whole
from worker.data.disk_full import disk_full_named
from worker.data.voc import (
    MAX_IMAGE,
    Devkit,
    VocFolder,
    contained,
    find_devkit,
    mask_class_names,
    read_mask,
    read_objects,
    shown,
    why_not,
)
from worker.data.voc_proposals import GivenProposals, find_proposals
from worker.stages.contract import Context, Inputs, Produced, Result, StageError
from worker.stages.source_folder import removed_on_failure, source_folder, stop_if_asked
from worker.stages.standalone import main

Lack = Literal["no_image", "no_annotation", "no_mask"]
LACKING: dict[Lack, str] = {
    "no_image": "is listed, but there is no such image",
    "no_annotation": "is listed, but there is no annotation of its objects",
    "no_mask": "is listed, but it has no mask",
}
LOOK_EVERY = 32
"""Images between two looks at whether to stop."""


class IngestVocInputs(Inputs):
    source: Path
    """A folder, or a .tar, .tar.gz, .tgz, .tar.xz or .zip file."""


class IngestVocResult(Result):
    annotations: Produced


def run(config: IngestVocConfig, inputs: IngestVocInputs, context: Context) -> IngestVocResult:
    """Make the annotated store: every image is decoded once to see that it is whole, its bytes are kept as they are.

    What is broken for one image (file, XML, box, mask, a listed name without an image) is left out, counted and listed.
    Sets for boxes hold only images whose objects were listed, sets for segmentation only images with a mask.
    Proposals are taken as they are, or refused whole; those of images that aren't there are listed.
    Raises `StageError` with source_missing, empty_source, archive_refused, bad_labels, bad_config (no such file of
    proposals) or disk_full; then nothing is left in the workdir.
    """
    folder = context.workdir / "annotations"
    limits = ArchiveLimits(config.max_files, config.max_bytes, config.max_ratio)
    context.resolved(config)
    with (
        removed_on_failure(folder),
        disk_full_named("storing the images"),
        source_folder(inputs.source, limits, context) as root,
        AnnotatedStoreWriter(folder) as writer,
    ):
        devkit = find_devkit(root)
        with GivenProposals(devkit, find_proposals(devkit, config.proposals)) as proposals:
            facts = _Ingest(config, devkit, proposals, writer, context).facts()
    context.log(
        f"{facts['count']} images stored with {sum(facts['objects'].values())} objects and {facts['masks']} masks; "
        f"{sum(facts['problems'].values())} problems listed"
    )
    return IngestVocResult(annotations=Produced(kind=ArtifactKind.annotated_store, path=folder, summary=facts))


class _Ingest:
    def __init__(
        self,
        config: IngestVocConfig,
        devkit: Devkit,
        proposals: GivenProposals,
        writer: AnnotatedStoreWriter,
        context: Context,
    ) -> None:
        self._config = config
        self._devkit = devkit
        self._proposals = proposals
        self._writer = writer
        self._context = context
        self._boxed: set[str] = set()
        """Ids of images whose objects are known."""
        self._masked: set[str] = set()
        self._classes: set[str] = set()
        self._told: set[tuple[str, Lack]] = set()
        """Images whose lack is among the problems already."""
        self._highest = 0
        """Of all masks' class indices."""
        self._boxes = 0
        """Proposals of all images."""

    def facts(self) -> dict[str, Any]:
        for problem in self._devkit.problems:
            self._writer.skip(problem)
        self._read_images()
        sets = dict(self._sets())
        if not sets:
            raise StageError(
                Reason.bad_labels, "No image set is left: none lists an image that has what the set needs."
            )
        self._tell_of_proposals()
        names = mask_class_names(self._devkit.class_names, sorted(self._classes), self._highest)
        facts = self._writer.finish(sets, names if self._masked else ())
        if self._proposals.name:
            self._context.log(
                f"{self._boxes} proposals of {facts['proposals']} images from {self._proposals.name}; "
                f"{facts['count'] - facts['proposals']} images have none"
            )
        return facts

    def _read_images(self) -> None:
        todo = [(folder, stem) for folder in self._devkit.folders for stem in folder.images]
        for done, (folder, stem) in enumerate(todo):
            if done % LOOK_EVERY == 0:
                self._context.progress(done, len(todo), "images")
                stop_if_asked(self._context)
            self._read_image(folder, stem)
        self._context.progress(len(todo), len(todo), "images")

    def _read_image(self, folder: VocFolder, stem: str) -> None:
        root, path, id = self._devkit.root, folder.images[stem], f"{folder.name}/{stem}"
        try:
            content = contained(root, path, MAX_IMAGE)
            height, width, _ = decode_whole(content, self._config.max_pixels).shape
        except ImageProblem as error:
            return self._broken(id, "no_image", AnnotationProblem(shown(root, path), error.reason, error.detail))
        except OSError as error:
            problem = AnnotationProblem(shown(root, path), "unreadable", why_not(error))
            return self._broken(id, "no_image", problem)
        size = (width, height)
        self._writer.add(id, content, size, self._objects(folder, stem, size), self._mask(folder, stem, size))
        boxes = self._proposals.of(id, size)
        if boxes is not None:
            self._writer.propose(id, boxes)
            self._boxes += len(boxes)

    def _objects(self, folder: VocFolder, stem: str, size: tuple[int, int]) -> list[Annotation] | None:
        objects, id = read_objects(self._devkit.root, folder, stem, size), f"{folder.name}/{stem}"
        for problem in objects.problems:
            self._broken(id, "no_annotation", problem)
        if objects.listed is not None:
            self._boxed.add(id)
            self._classes.update(annotation.name for annotation in objects.listed)
        return objects.listed

    def _mask(self, folder: VocFolder, stem: str, size: tuple[int, int]) -> bytes | None:
        mask, id = read_mask(self._devkit.root, folder, stem, size), f"{folder.name}/{stem}"
        if mask.problem is not None:
            self._broken(id, "no_mask", mask.problem)
        if mask.content is not None:
            self._masked.add(id)
            self._highest = max(self._highest, mask.highest)
        return mask.content

    def _broken(self, id: str, lack: Lack, problem: AnnotationProblem) -> None:
        self._writer.skip(problem)
        self._told.add((id, lack))

    def _sets(self) -> Iterator[tuple[str, list[str]]]:
        """The lists, less the images that they can't use."""
        for name, listed in self._devkit.sets.items():
            lacks = {id: self._lack(name, id) for id in listed}
            for id, lack in lacks.items():
                if lack is not None:
                    self._tell(name, id, lack)
            kept = [id for id, lack in lacks.items() if lack is None]
            if kept:
                yield name, kept

    def _lack(self, set_name: str, id: str) -> Lack | None:
        """What keeps an image out of a set."""
        if id not in self._writer.positions:
            return "no_image"
        if "/Main/" in set_name and id not in self._boxed:
            return "no_annotation"
        return "no_mask" if "/Segmentation/" in set_name and id not in self._masked else None

    def _tell(self, set_name: str, id: str, lack: Lack) -> None:
        """Once for an image, and not where its file is there and was listed as broken."""
        if (id, lack) not in self._told:
            self._told.add((id, lack))
            path = f"{set_name.replace('/', '/ImageSets/', 1)}.txt"
            self._writer.skip(AnnotationProblem(path, lack, f"{id} {LACKING[lack]}"))

    def _tell_of_proposals(self) -> None:
        """Which of them are of no image, but for images whose file is there and was listed as broken."""
        for id in self._proposals.ids:
            if id not in self._writer.positions and (id, "no_image") not in self._told:
                detail = f"{id} has proposals, but there is no such image"
                self._writer.skip(AnnotationProblem(self._proposals.name, "no_image", detail))


if __name__ == "__main__":
    main(run, IngestVocConfig, IngestVocInputs)
