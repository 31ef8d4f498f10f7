"""Terms that a paper adds to the adversarial loss in the same turn, from its logits or from the weights."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipeline.contracts import Terms, per_image
from pipeline.losses.turns import Play


class Drift:
    """weight * D(x)^2, [N], which keeps each of the critic's logits from drifting away from 0 (Karras et al.
    2018, appendix A.1)."""

    def __init__(self, weight: float) -> None:
        self.weight = weight

    def __call__(self, play: Play) -> Terms:
        assert play.real is not None
        return Terms(self.weight * per_image([head.square() for head in play.real.heads]))


class LeCam(nn.Module):
    """weight * ((D(x) - a_F)^2 + (D(G(z)) - a_R)^2), [N] (Tseng et al. 2021, eq. 4).

    relu: use weight * (max(D(x) - a_F, 0)^2 + max(a_R - D(G(z)), 0)^2) instead, as the authors' code does.
    a_R and a_F are the running means (eq. 5, `decay`) of the logits of reals and fakes up to the previous
    step; they are buffers, which `observe` updates with the means over all ranks. heads: the number of heads
    of the discriminator. With several, each head has running means of its own, [heads], and its logits are
    drawn towards those.

    start: until so many images have been seen, the term is 0 and the means are those of the latest step.
    debiased: whether the means, which begin at 0, are divided by the weight of the steps that they hold; the
    first step, before which there is none, then has no term.
    """

    real_mean: Tensor
    fake_mean: Tensor

    def __init__(
        self,
        weight: float,
        decay: float,
        *,
        relu: bool = False,
        heads: int = 1,
        start: int = 0,
        debiased: bool = False,
    ) -> None:
        super().__init__()
        self.weight, self.decay, self.relu, self.heads = weight, decay, relu, heads
        self.start = start
        self.seen: Tensor | None
        self.held: Tensor | None
        self.register_buffer("seen", torch.tensor(0, dtype=torch.int64) if start else None)
        self.register_buffer("held", torch.tensor(0.0) if debiased else None)
        shape = () if heads == 1 else (heads,)
        self.register_buffer("real_mean", torch.zeros(shape))
        self.register_buffer("fake_mean", torch.zeros(shape))

    def forward(self, play: Play) -> Terms:
        assert play.real is not None
        # Copies, because `observe` changes the buffers in place, maybe before the backward pass reads them.
        means = (self._mean(mean).reshape(-1).unbind() for mean in (self.real_mean, self.fake_mean))
        parts = zip(play.real.heads, play.fake.heads, *means, strict=True)
        penalty = per_image([self._pull(*part) for part in parts])
        if self.seen is not None:
            penalty = penalty * (self.seen >= self.start)
        if self.held is not None:
            penalty = penalty * (self.held > 0)
        return Terms(self.weight * penalty, {"penalty/lecam": penalty.detach().mean()})

    def _mean(self, mean: Tensor) -> Tensor:
        mean = mean.detach().clone()
        return mean if self.held is None else mean / torch.where(self.held > 0, self.held, 1)

    def _pull(self, real: Tensor, fake: Tensor, real_mean: Tensor, fake_mean: Tensor) -> Tensor:
        to_fake, to_real = real - fake_mean, real_mean - fake
        if self.relu:
            to_fake, to_real = F.relu(to_fake), F.relu(to_real)
        return to_fake.square() + to_real.square()

    @torch.no_grad()
    def observe(self, stats: Mapping[str, Tensor], images: int) -> None:
        """Updates the running means; values that are not finite change nothing.

        stats: those of the step, with "logits/real" and "logits/fake" or, for several heads, "logits/real/0"
        and so on. images: its number of images.
        """
        if "logits/real" not in stats:
            return
        now = [self._of_heads(stats, f"logits/{side}") for side in ("real", "fake")]
        finite = torch.stack([value.isfinite().all() for value in now]).all()
        share = finite * (1 - self.decay)  # of this step in the means, 0-d
        if self.seen is not None:
            share = torch.where(self.seen < self.start, finite.to(share.dtype), share)
            self.seen += images
        for mean, value in zip((self.real_mean, self.fake_mean), now, strict=True):
            mean.copy_(torch.where(finite, mean.lerp(value.to(mean.dtype), share.to(mean.dtype)), mean))
        if self.held is not None:
            self.held.copy_(self.held.lerp(torch.ones_like(self.held), share))

    def _of_heads(self, stats: Mapping[str, Tensor], name: str) -> Tensor:
        if self.heads == 1:
            return stats[name]
        return torch.stack([stats[f"{name}/{head}"] for head in range(self.heads)])


class Classified:
    """weight * cross entropy of the auxiliary classifier, [N]. Both networks maximise the log-likelihood of
    the correct class (Odena et al. 2017, eq. 3)."""

    def __init__(self, weight: float) -> None:
        self.weight = weight

    def __call__(self, play: Play) -> Terms:
        sides = [(play.fake, play.fakes.labels)]
        if play.real is not None:
            sides.append((play.real, play.reals.labels))
        losses, hits = [], []
        for verdict, labels in sides:
            assert verdict.classes is not None
            assert labels is not None
            losses.append(F.cross_entropy(verdict.classes, labels, reduction="none"))
            hits.append((verdict.classes.argmax(1) == labels).float().mean())
        stats = {"classified/fake": hits[0]}
        return Terms(self.weight * torch.stack(losses).sum(dim=0), stats)


class Orthogonal:
    """weight * sum over matrices of |W W^T * (1 - I)|^2, the same for each sample (Brock et al. 2019, eq. 3).

    W is a weight reshaped to [outputs, the rest]. The rows of different outputs are kept orthogonal, while
    their lengths are free. chosen: returns the weights of the generator to regularise.
    """

    def __init__(self, weight: float, chosen: Callable[[nn.Module], Iterable[Tensor]]) -> None:
        self.weight, self.chosen = weight, chosen

    def __call__(self, play: Play) -> Terms:
        logits = play.fake.logits
        total = torch.zeros_like(logits[0])
        for matrix in self.chosen(play.game.networks.generator):
            total = total + off_diagonal(matrix.flatten(1))
        return Terms((self.weight * total).expand(len(logits)), {"penalty/orthogonal": total.detach()})


def off_diagonal(w: Tensor) -> Tensor:
    """Returns |W W^T * (1 - I)|^2 of w [O, I], 0-d.

    It is |W W^T|^2 less the squares of its diagonal, which holds the squared lengths of the rows. Since
    |W W^T|^2 = |W^T W|^2, the smaller of the two matrices is computed.
    """
    # Near the minimum this is a small difference of large sums, and rounding may bring it just below 0.
    gram = w @ w.t() if len(w) <= w.shape[1] else w.t() @ w
    return gram.square().sum() - w.square().sum(dim=1).square().sum()


def clip_weights(limit: float) -> Callable[[nn.Module], None]:
    """Returns a function that clamps every parameter of a network to [-limit, limit] (Arjovsky et al. 2017,
    algorithm 1, line 7)."""

    @torch.no_grad()
    def clip(network: nn.Module) -> None:
        for parameter in network.parameters():
            parameter.clamp_(-limit, limit)

    return clip
