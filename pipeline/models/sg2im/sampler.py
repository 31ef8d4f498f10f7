"""Images of scene graphs, from a trained generator."""

from __future__ import annotations

from pipeline.config.families import SG2ImConfig
from pipeline.contracts import Batch, Fakes
from pipeline.models.sampling import GivenSampler
from pipeline.models.sg2im.networks import Generator
from pipeline.models.sg2im.scene import BOXES, OBJECTS, TRIPLES, check_codes, framed, scene_of
from pipeline.randomness import SampleRandomness


class SceneSampler(GivenSampler):
    """Implements contracts.Conditional: draws noise from each seed and each sample's scene with it.
    `Fakes.latents` are the predicted boxes, with that of the whole image at the end."""

    def __init__(self, generator: Generator, config: SG2ImConfig) -> None:
        self._given = config.sampled_boxes == "given"
        super().__init__(generator, config.name, (OBJECTS, TRIPLES, *([BOXES] if self._given else [])))
        self.generator, self._most = generator, (config.objects, config.relations)

    def _made(self, given: Batch, randomness: SampleRandomness) -> Fakes:
        check_codes(given.extra, *self._most)
        boxes = framed(given.extra[BOXES]) if self._given else None
        noise = randomness.normal(*self.generator.noise_shape)
        images, predicted = self.generator(scene_of(given.extra, *self._most), noise, boxes)
        return Fakes(images, None, predicted)
