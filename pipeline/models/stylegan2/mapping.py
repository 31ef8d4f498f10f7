"""The mapping network, from latent z and label to intermediate latent w."""

from __future__ import annotations

import itertools

import torch
from torch import Tensor, nn

import ops
from pipeline.models.layers import Linear, one_hot


class MappingNetwork(nn.Module):
    """w = f(z, label), a network of `layers` fully connected layers (Karras et al. 2019, section 2).

    z is normalised to unit mean square, and so is the embedding of the label, which is concatenated to it. If
    z_dim is 0, as in the discriminator's mapping of labels, the embedding is the only input. w_avg [w_dim] is
    the running mean of w, for truncation; None if `track_average` is off. noise: whether it also takes how
    many steps of noise an image has (Wang et al. 2022), by an embedding that is normalised for itself. In the
    authors' code that is one more input of the label's embedding, where its numbers of up to 1,000 hide the
    label.
    """

    w_avg: Tensor | None

    def __init__(
        self,
        *,
        z_dim: int,
        classes: int,
        w_dim: int,
        layers: int,
        rate: float = 0.01,
        track_average: bool = True,
        noise: bool = False,
    ) -> None:
        super().__init__()
        self.z_dim, self.classes = z_dim, classes
        self.embed = Linear(classes, w_dim) if classes else None
        self.embed_noise = Linear(1, w_dim) if noise else None
        embedded = sum(part is not None for part in (self.embed, self.embed_noise))
        widths = [z_dim + w_dim * embedded, *[w_dim] * layers]
        self.layers = nn.ModuleList(
            Linear(a, b, act="lrelu", rate=rate) for a, b in itertools.pairwise(widths)
        )
        self.register_buffer("w_avg", torch.zeros(w_dim) if track_average else None)

    def forward(self, z: Tensor | None, labels: Tensor | None, steps: Tensor | None = None) -> Tensor:
        """Returns w [N, w_dim]. z: [N, z_dim], or None if z_dim is 0. labels: class numbers [N], if
        conditional. steps: those of noise, [N], if it takes them."""
        parts = []
        if z is not None and self.z_dim:
            parts.append(ops.pixel_norm(z))
        if self.embed is not None:
            if labels is None:
                raise ValueError("this network is conditional: it needs labels")
            parts.append(ops.pixel_norm(self.embed(one_hot(labels, self.classes))))
        if self.embed_noise is not None:
            assert steps is not None
            parts.append(ops.pixel_norm(self.embed_noise(steps[:, None].float())))
        x = torch.cat(parts, dim=1)
        for layer in self.layers:
            x = layer(x)
        return x

    def truncate(self, w: Tensor, psi: float, mean: Tensor | None = None) -> Tensor:
        """Returns w moved towards `mean`, or towards w_avg if that is None (Karras et al. 2019, appendix B);
        psi 0 gives the mean itself."""
        mean = self.w_avg if mean is None else mean
        if psi == 1 or mean is None:
            return w
        return mean + psi * (w - mean)
