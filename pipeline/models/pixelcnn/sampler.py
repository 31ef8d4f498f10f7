"""Images drawn number by number, and how likely given ones are."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from pipeline.contracts import Fakes
from pipeline.errors import UserError
from pipeline.models.pixelcnn.likelihoods import VALUES
from pipeline.models.pixelcnn.network import PixelNetwork, log_prob
from pipeline.models.pixelcnn.rows import Rows
from pipeline.models.sampling import labels_of
from pipeline.randomness import SampleRandomness

_AT_ONCE = 16  # images whose likelihood is computed together, for the memory's sake


class PixelSampler:
    """Implements contracts.Sampler and contracts.Evidential. size: height and width of images.

    A seed gives uniform numbers, one or a few a pixel, and each decides a draw from what the network tells
    given all before it. The likelihood is exact: it takes nothing from seeds.
    """

    values = VALUES

    def __init__(self, network: nn.Module, size: tuple[int, int]) -> None:
        self.network: PixelNetwork = network  # type: ignore[assignment]
        self._module, self._size = network, size

    @property
    def device(self) -> torch.device:
        return next(self._module.parameters()).device

    @torch.no_grad()
    def draw(
        self,
        seeds: Sequence[int],
        *,
        classes: Sequence[int] | None = None,
        truncation: float = 1.0,
    ) -> Fakes:
        """Draws one image per seed. On a CPU images are drawn one by one and have the same bits in any batch;
        on other devices rounding may depend on its size, and now and then a draw with it.

        Raises UserError for a truncation, and for classes as `sampling.labels_of`.
        """
        if truncation != 1:
            raise UserError(f"truncation={truncation}: pixelcnn has nothing to pull towards; allowed: 1")
        randomness = SampleRandomness(seeds, self.device, source="cpu")
        uniform = randomness.uniform(self.network.likelihood.draws, *self._size)
        labels = labels_of(len(seeds), classes, self.network.classes, randomness, self.device)
        size = 1 if self.device.type == "cpu" else max(len(seeds), 1)
        images = [
            drawn(self.network, uniform[i : i + size], None if labels is None else labels[i : i + size])
            for i in range(0, max(len(seeds), 1), size)
        ]
        return Fakes(torch.cat(images), labels, uniform.flatten(1))

    @torch.no_grad()
    def evidence(
        self, images: Tensor, seeds: Sequence[int], *, classes: Sequence[int] | None = None
    ) -> Tensor:
        known = self.network.classes
        if known and classes is None:
            raise UserError("classes: this model gives images a likelihood by their class; give one an image")
        labels = labels_of(len(images), classes if known else None, known, _NO_DRAWS, self.device)
        parts = [
            log_prob(
                self.network, images[i : i + _AT_ONCE], None if labels is None else labels[i : i + _AT_ONCE]
            )
            for i in range(0, max(len(images), 1), _AT_ONCE)
        ]
        return torch.cat(parts)


_NO_DRAWS = SampleRandomness([])


def drawn(network: PixelNetwork, uniform: Tensor, labels: Tensor | None) -> Tensor:
    """Returns the images [N, C, H, W] that uniform numbers [N, draws, H, W] mean.

    Each row is shown to the network once for each draw in it, below what layers keep of the rows above: an
    image costs about as much as the network's view of W whole ones.
    """
    likelihood, (count, _, height, width) = network.likelihood, uniform.shape
    images = uniform.new_zeros(count, likelihood.colours, height, width)
    rows = Rows()
    for y in range(height):
        row = images[:, :, y : y + 1]
        for x in range(width):
            for step in range(likelihood.steps):
                told = network(row, labels, rows=rows)[:, :, 0, x]
                row[:, :, 0, x] = likelihood.draw(told, row[:, :, 0, x], uniform[:, :, y, x], step)
        network(row, labels, rows=rows)
        rows.finish()
    return images
