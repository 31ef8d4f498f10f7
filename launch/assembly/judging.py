"""What judges generated images: the discriminator they were trained against, and the training images."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor

from launch.assembly.fixtures import recall_fixtures
from pipeline.contracts import AugmentedGame, Batch, Family
from pipeline.data.shards.index import ShardIndex
from pipeline.errors import UserError
from pipeline.evaluation.cache import StatisticsCache, cache_folder
from pipeline.evaluation.features.extractors import make_extractor
from pipeline.evaluation.results import run_of
from pipeline.evaluation.settings import Settings
from pipeline.generation.filters import Filters, Panel, Score
from pipeline.generation.training_images import ExtractedFeatures, Features, PixelFeatures, TrainingImages
from pipeline.models.registry import build_family
from pipeline.randomness import SampleRandomness
from pipeline.storage.snapshots import Snapshot
from pipeline.storage.start import load_start
from pipeline.words import note

PIXELS = "pixels"
_LARGEST_GROUP = 64


@dataclass(frozen=True)
class Judges:
    """What judges the images, loaded when it is needed.

    discriminator: a run, checkpoint or snapshot that has one. reference: shards of the training images.
    settings: determine the features to compare by.
    """

    snapshot: Snapshot
    device: torch.device
    discriminator: Path | None
    reference: str | None
    settings: Settings

    @cached_property
    def digests(self) -> Mapping[str, str]:
        """The digests of everything that determines an opinion."""
        digests = {}
        if self.discriminator is not None:
            digests["discriminator_weights"] = _digest(self._weights)
        if self._index is not None:
            digests["reference"] = self._index.digest
            digests["features"] = self._features.digest
        return digests

    def panel(self, filters: Filters, out: Path) -> Panel:
        """A panel that is ready to judge. `out` has a folder `.work` for caches that cannot be kept beside
        the reference."""
        score, group = (None, 1) if self.discriminator is None else self._scorer()
        training = None
        if self._index is not None:
            cache = StatisticsCache(cache_folder(self._index.root, out / ".work"), note)
            training = TrainingImages(self._index, self._features, cache, self.device)
        return Panel(filters, score, training, group)

    @cached_property
    def _index(self) -> ShardIndex | None:
        if self.reference is None:
            return None
        index, spec = ShardIndex.read(self.reference), self.snapshot.spec
        if (index.height, index.width, index.channels) != (spec.height, spec.width, spec.channels):
            raise UserError(
                f"--reference {self.reference}: holds {index.height}x{index.width} with {index.channels} "
                f"channels; the generator makes {spec.height}x{spec.width} with {spec.channels}; prepare the "
                "images in that format"
            )
        return index

    @cached_property
    def _features(self) -> Features:
        name = self.settings.extractor.name
        assert name is not None, "the command has a default"
        return PixelFeatures() if name == PIXELS else ExtractedFeatures(make_extractor(name, self.settings))

    @cached_property
    def _weights(self) -> dict[str, Tensor]:
        assert self.discriminator is not None
        source = self.discriminator
        if source.resolve() == self.snapshot.folder.resolve():
            source = run_of(self.snapshot) or source  # a run's snapshots hold the generator alone
        try:
            weights = load_start(source).discriminator
        except UserError as error:
            raise UserError(str(error).replace("start.source", "--discriminator", 1)) from error
        if weights is None:
            raise UserError(
                f"--filter discriminator: {source} has no discriminator; allowed: --discriminator RUN with a "
                "checkpoint, or a snapshot imported with --discriminator"
            )
        return weights

    def _scorer(self) -> tuple[Score, int]:
        snapshot = self.snapshot
        family = build_family(snapshot.family, snapshot.spec, batch_size=snapshot.batch_size)
        recall_fixtures(snapshot, family, self.device, sampling=False)
        networks = family.networks()
        try:
            networks.discriminator.load_state_dict(self._weights)
        except RuntimeError as error:
            reason = str(error).splitlines()[-1].strip()
            raise UserError(f"--discriminator {self.discriminator}: does not fit: {reason}") from error
        networks.discriminator.to(self.device).eval().requires_grad_(False)
        game = family.game(networks, snapshot.stage, SampleRandomness([]))
        judge = game.judge_shown if isinstance(game, AugmentedGame) else game.judge

        def score(pixels: Tensor, labels: Tensor | None) -> Tensor:
            images = pixels.to(self.device).float().mul(2 / 255).sub(1)
            # The same random numbers for each image, so that its score does not depend on the others.
            alike = SampleRandomness([0] * len(images), self.device)
            shown = game.present(family.codec.encode(Batch(images, labels), alike))
            return judge(shown.images, shown.labels, exact=True).logits.cpu()

        return score, _group(family)


def _group(family: Family) -> int:
    """The smallest number of images that the discriminator accepts."""
    for images in range(1, _LARGEST_GROUP):
        try:
            family.check_batch(images)
        except UserError:
            continue
        return images
    return _LARGEST_GROUP


def _digest(weights: Mapping[str, Tensor]) -> str:
    digest = hashlib.sha256()
    for name, tensor in sorted(weights.items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)} ".encode())
        digest.update(tensor.contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
