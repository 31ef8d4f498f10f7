"""`hrgan generate`: new images from a trained generator."""

from __future__ import annotations

from launch.options.declared import takes_options
from launch.options.generate import GenerateOptions
from pipeline.words import LOADING_SECONDS, patiently


@takes_options
def generate(options: GenerateOptions) -> int:
    """Make new images: shards, or one picture.

    Each image depends on its own seed alone. The same command again continues after a stop. Any number of
    processes, on any machines that share OUT, make one data set together.

    \b
    Examples:
      hrgan generate out/quickstart/run out/quickstart/generated --count 1000
      hrgan generate runs/faces faces.png --count 64 --truncation 0.7
      hrgan generate runs/faces/snapshots/000025000000 more --count 50000 --seed 1000000 --format webp
      hrgan generate runs/faces faces --count 50000 --processes 8 --deterministic
      hrgan generate runs/scenes drawn --count 1000 --inputs shards
      hrgan generate runs/faces best --count 5000 --filter discriminator:30% --filter duplicates:10
      hrgan generate runs/faces real --count 5000 --filter realism:1 --reference shards --neighbours
    """
    with patiently("loading torch", seconds=LOADING_SECONDS):
        from launch.assembly.generating import make_picture, make_shards

    return make_picture(options) if options.is_picture else make_shards(options)
