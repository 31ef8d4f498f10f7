"""How they play: fakes are made of the reals' scenes, and both are judged by the objects in them."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from pipeline.contracts import Fakes, Verdict
from pipeline.models.plain import PlainGame, PlainJudge
from pipeline.models.sg2im.networks import Generator
from pipeline.models.sg2im.scene import Scene


@dataclass(frozen=True)
class SceneGame(PlainGame):
    """of: the scenes of the micro-batch. boxes: those of their objects, [N, K, 4]. Whatever is judged at
    place i is judged with scene i."""

    of: Scene | None = None
    boxes: Tensor | None = None

    @property
    def scene(self) -> Scene:
        """The scenes. There is no game without them."""
        assert self.of is not None, "it plays with samples alone"
        return self.of

    @property
    def told(self) -> Tensor:
        """What the discriminator is told, [N, K, 5]."""
        assert self.boxes is not None, "it plays with samples alone"
        return torch.cat([self.boxes, self.scene.present[:, :, None]], dim=2)

    def generate(self, count: int, labels: Tensor | None = None, *, exact: bool = False) -> Fakes:
        """Draws the first `count` scenes with the given boxes. `Fakes.latents` are the predicted ones."""
        generator: Generator = self.networks.generator  # type: ignore[assignment]
        noise = self.randomness.first(count).normal(*generator.noise_shape)
        boxes = None if self.boxes is None else self.boxes[:count]
        with self._measuring("generator") as stats:
            images, predicted = generator(self.scene.first(count), noise, boxes)
        return Fakes(images, labels, predicted, stats=stats)

    def judge_shown(self, shown: Tensor, labels: Tensor | None, *, exact: bool = False) -> Verdict:
        """labels: what the discriminator is told; class numbers, or None, stand for the micro-batch's own
        scenes."""
        is_told = labels is not None and labels.is_floating_point()
        return super().judge_shown(shown, labels if is_told else self.told[: len(shown)], exact=exact)

    def _judge(self, count: int) -> PlainJudge:
        return replace(super()._judge(count), tell=lambda labels: self.told[:count])
