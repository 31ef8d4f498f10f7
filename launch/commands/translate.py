"""`hrgan translate`: images of images, by a trained model."""

from __future__ import annotations

from launch.options.declared import takes_options
from launch.options.translate import TranslateOptions
from pipeline.words import LOADING_SECONDS, patiently


@takes_options
def translate(options: TranslateOptions) -> int:
    """Make images of images: enlarge pictures, fill their holes.

    Pictures may have any size, and keep their names. The same command again continues after a stop. What
    cannot be read is named and left out.

    \b
    Examples:
      hrgan translate runs/enlarge photos enlarged
      hrgan translate runs/enlarge photo.jpg enlarged --tile 256 --overlap 64
      hrgan translate runs/faces maps.zip faces --format jpg
      hrgan translate runs/fill photos filled --holes masks
    """
    with patiently("loading torch", seconds=LOADING_SECONDS):
        from launch.assembly.translating import translate_all

    return translate_all(options)
