"""The autoencoder's objective: likelihood, divergence, what people see, and the discriminator's verdict."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

from pipeline.config.families import AutoencoderConfig
from pipeline.contracts import Batch, Fakes, Game, Terms, per_image
from pipeline.losses import ADVERSARIAL, LIKELIHOODS, Balance, judge_fakes
from pipeline.models.autoencoder.autoencoder import Autoencoder
from pipeline.models.autoencoder.moments import moments_of

ADVERSARIAL_WEIGHT = "adversarial"
"""The name of the adversarial loss's weight in `Stage.weights`, which has it once there is such a loss."""


class AutoencoderTurn:
    """The loss of encoder and decoder on one batch (Rombach et al. 2022, eq. 25), summed over the numbers of
    an image.

    balance: the memory of the weight between the two losses. perceptual: returns the network that measures
    how different images look, once it is there.
    """

    def __init__(
        self, config: AutoencoderConfig, balance: Balance, perceptual: Callable[[], nn.Module]
    ) -> None:
        self.config, self.balance, self.perceptual = config, balance, perceptual
        self.likelihood, self.adversarial = LIKELIHOODS[config.likelihood], ADVERSARIAL[config.loss]

    def __call__(self, game: Game, reals: Batch) -> Terms:
        fakes = game.generate(len(reals), reals.labels)
        autoencoder: Autoencoder = game.networks.generator  # type: ignore[assignment]
        numbers = reals.images[0].numel()
        loss = self.likelihood(reals.images, fakes.images, autoencoder.log_scale)
        stats = {**fakes.stats, "loss/reconstruction": loss.detach().mean() / numbers}
        if self.config.perceptual_weight:
            distance = self.perceptual()(as_colours(reals.images), as_colours(fakes.images))
            loss = loss + self.config.perceptual_weight * numbers * distance
            stats["loss/perceptual"] = distance.detach().mean()
        whole = loss
        if self.config.distribution:
            divergence = moments_of(fakes.latents).kl()
            whole = whole + self.config.kl_weight * divergence
            stats["loss/kl"] = divergence.detach().mean()
        if ADVERSARIAL_WEIGHT in game.stage.weights:
            judged = self._judged(game, fakes)
            stats |= self.balance.measured(loss, judged, autoencoder.decoder.last.weight)
            stats["loss/adversarial"] = judged.detach().mean()
            weight = self.balance.weight.clone() * game.stage.weights[ADVERSARIAL_WEIGHT]
            whole = whole + weight.to(judged.dtype) * judged
        return Terms(whole, {**stats, "loss/generator": whole.detach().mean()})

    def _judged(self, game: Game, fakes: Fakes) -> Tensor:
        heads = judge_fakes(game, fakes).heads
        return per_image([self.adversarial.generator(head, head) for head in heads])


def as_colours(images: Tensor) -> Tensor:
    """Returns images of one channel or more as [N, 3, H, W]: grey is repeated, and opacity left out."""
    return images.expand(-1, 3, -1, -1) if images.shape[1] == 1 else images[:, :3]
