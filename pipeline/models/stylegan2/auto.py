"""Settings derived from resolution and number of GPUs, as "auto" of stylegan2-ada (Karras et al. 2020b)."""

from __future__ import annotations

from typing import Any

from pipeline.config.families import StyleGAN2Config
from pipeline.contracts import ImageSpec


def auto_settings(config: StyleGAN2Config, spec: ImageSpec) -> dict[str, dict[str, Any]]:
    """Returns settings `{"batch": {...}, "family": {...}}` for `config.auto_gpus` GPUs; nothing if that is
    None.

    Only the mapping network of the generator gets shorter; that of the discriminator's labels keeps 8 layers.
    """
    gpus, resolution = config.auto_gpus, spec.height
    if gpus is None:
        return {}
    batch = max(min(gpus * min(4096 // resolution, 32), 64), gpus)
    rate = 0.002 if resolution >= 1024 else 0.0025
    return {
        "batch": {"size": batch},
        "family": {
            "channel_base": 32768 if resolution >= 512 else 16384,
            "mapping_layers": 2,
            **({"label_mapping_layers": 8} if spec.classes else {}),
            "minibatch_stddev_group": min(batch // gpus, 4),
            "generator_rate": rate,
            "discriminator_rate": rate,
            "r1_gamma": 0.0002 * resolution**2 / batch,
            "ema_half_life_images": batch * 10_000 // 32,
            "ema_ramp": 0.05,
        },
    }
