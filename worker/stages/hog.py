"""Bags of words of HOG blocks as features: clusters without any network (SPEC 7.1)."""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from worker.clustering.features import FeatureFacts, FeatureSet
from worker.clustering.hog import blocks_per_side, grey, hog_blocks
from worker.clustering.rows import RowFile
from worker.clustering.words import Codebook, learn_codebook
from worker.config.base import DatasetFacts
from worker.config.pipeline import ArtifactKind
from worker.config.reasons import Reason
from worker.config.sources import HogConfig
from worker.data.loader import BatchLoader
from worker.data.store import ImageStore
from worker.stages.contract import Context, Inputs, Produced, Result, StageError, Stopped
from worker.stages.feature_rows import numpy_type, stored, write_rows
from worker.stages.frozen import centre_crop, check_crop
from worker.stages.machine_errors import machine_errors
from worker.stages.precision import usable_device
from worker.stages.randomness import numpy_generator
from worker.stages.standalone import main

CODEBOOK = "codebook.npy"
BLOCKS_PER_IMAGE = 50
"""Our choice: the codebook's sample takes at least this many blocks from an image it reads, so it reads few of many."""


class HogInputs(Inputs):
    store: Path
    codebook: Path | None = None
    """HOG features of another store, whose words are used: only then do features of two stores lie in one space."""


class HogResult(Result):
    features: Produced


def run(config: HogConfig, inputs: HogInputs, context: Context) -> HogResult:
    """Rows are word counts over the pyramid's parts, square-rooted, of unit length; `codebook.npy` lies beside them.

    Raises `StageError` with images_too_small, bad_config, or k_too_large where too few blocks differ for the words.
    """
    device = usable_device(context.device)
    store = ImageStore.open(inputs.store)
    config = config.resolved(DatasetFacts(image_count=store.count, side=store.side))
    context.resolved(config)
    _check_sizes(config, store)
    folder = context.workdir / "features"
    with machine_errors("writing the features"):
        words = _codebook(config, inputs, store, device, context)
        facts = _facts(config, store, words)
        rows = RowFile(folder, (facts.count, facts.dim), numpy_type(config.dtype), _fingerprint(config, facts))
        rows.take_over(context.resume_from / "features" if context.resume_from else None)
        with rows:
            _describe(config, store, Codebook(words, device), rows, context)
        np.save(folder / CODEBOOK, words)
        (folder / "features.json").write_text(facts.model_dump_json(indent=2))
    summary = facts.model_dump(mode="json")
    return HogResult(features=Produced(kind=ArtifactKind.feature_set, path=folder, summary=summary))


def _check_sizes(config: HogConfig, store: ImageStore) -> None:
    side, crop = int(config.side), int(config.crop)
    if side > store.side:
        raise StageError(Reason.images_too_small, f"`side` is {side}, but the stored images have {store.side} px.")
    check_crop(side, crop)
    blocks = blocks_per_side(crop, config.cell, config.block)
    if blocks < max(config.pyramid):
        message = f"A crop of {crop} px holds {max(0, blocks)} x {max(0, blocks)} blocks of {config.block} cells"
        raise StageError(Reason.bad_config, f"{message}: too few for a pyramid of {max(config.pyramid)} parts a side.")


def _codebook(
    config: HogConfig, inputs: HogInputs, store: ImageStore, device: torch.device, context: Context
) -> NDArray[np.float32]:
    """`(words, block * block * orientations)`: learnt on a sample of the store's blocks, or the given one."""
    if inputs.codebook is not None:
        return _given_codebook(config, inputs.codebook)
    sample = np.concatenate(list(_sampled_blocks(config, store, device, context)))
    context.log(f"{config.words} words are learnt from {len(sample)} blocks of {store.count} images.")

    def on_iteration(iteration: int, inertia: float) -> None:
        context.progress(iteration, config.iterations, "iterations")
        context.metric("codebook_inertia", iteration, inertia)
        if context.should_stop():
            raise Stopped

    generator = numpy_generator(config.seed, "codebook")
    return learn_codebook(sample, config.words, config.iterations, generator, context.device, on_iteration)


def _given_codebook(config: HogConfig, folder: Path) -> NDArray[np.float32]:
    facts = FeatureSet.open(folder).facts
    if facts.checkpoint != _space(config, facts.checkpoint.get("codebook_sha256", "")):
        message = f"The codebook was made with other settings of HOG than asked for: {json.dumps(facts.checkpoint)}."
        raise StageError(Reason.bad_config, message)
    try:
        words: NDArray[np.float32] = np.load(folder / CODEBOOK)
    except (OSError, ValueError) as error:
        raise StageError(Reason.artifact_corrupt, f"The codebook can't be read: {error}.") from error
    return words


def _sampled_blocks(
    config: HogConfig, store: ImageStore, device: torch.device, context: Context
) -> Iterator[NDArray[np.float32]]:
    """The same number of random blocks from each of some random images, `config.sample` in all where there are."""
    images = min(store.count, -(-config.sample // BLOCKS_PER_IMAGE))
    generator = numpy_generator(config.seed, "sample")
    chosen = np.sort(generator.choice(store.count, images, replace=False))
    blocks = blocks_per_side(int(config.crop), config.cell, config.block) ** 2
    each = min(blocks, -(-config.sample // images))
    batches = [chosen[start : start + config.batch] for start in range(0, images, config.batch)]
    with BatchLoader(store, batches, int(config.side), device) as loader:
        for pixels in loader:
            if context.should_stop():
                raise Stopped
            found = _blocks(config, pixels).flatten(1, 2)
            places = np.stack([generator.choice(blocks, each, replace=False) for _ in range(len(found))])
            index = torch.from_numpy(places).to(device)[:, :, None].expand(-1, -1, found.shape[2])
            yield found.gather(1, index).flatten(0, 1).cpu().numpy()


def _describe(config: HogConfig, store: ImageStore, codebook: Codebook, rows: RowFile, context: Context) -> None:
    def bags(images: Tensor) -> NDArray[np.floating[Any]]:
        return stored(codebook.bags(_blocks(config, images), config.pyramid), config.dtype)

    write_rows(rows, store, int(config.side), config.batch, bags, context)


def _blocks(config: HogConfig, images: Tensor) -> Tensor:
    """uint8 (N, 3, side, side) -> (N, rows, columns, values) of the centre crop."""
    return hog_blocks(grey(centre_crop(images, int(config.crop))), config.cell, config.block, config.orientations)


def _facts(config: HogConfig, store: ImageStore, words: NDArray[np.float32]) -> FeatureFacts:
    dim = len(words) * sum(level**2 for level in config.pyramid)
    return FeatureFacts(
        count=store.count,
        dim=dim,
        tap="hog",
        shape=(dim, 1, 1),
        dtype=config.dtype,
        side=int(config.side),
        crop=int(config.crop),
        store=store.digest,
        checkpoint=_space(config, hashlib.sha256(words.tobytes()).hexdigest()),
    )


def _space(config: HogConfig, codebook_sha256: str) -> dict[str, Any]:
    """All that two images' rows must share to be comparable."""
    settings = config.model_dump(mode="json", include={"cell", "block", "orientations", "words", "pyramid"})
    return {"role": "hog", **settings, "codebook_sha256": codebook_sha256}


def _fingerprint(config: HogConfig, facts: FeatureFacts) -> str:
    return json.dumps({"config": config.model_dump(mode="json"), "facts": facts.model_dump(mode="json")})


if __name__ == "__main__":
    main(run, HogConfig, HogInputs)
