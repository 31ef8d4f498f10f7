"""Which programs have written a picture's bytes."""

from __future__ import annotations

import platform

from PIL import __version__ as pillow_version
from PIL import features

from pipeline.storage.manifest import code_version

_CODECS = {"png": "zlib", "jpg": "jpg", "webp": "webp"}


def encoder_versions(kind: str) -> dict[str, str]:
    """The versions of the software that writes images of this format. Another version of an encoder may write
    other bytes for the same pixels."""
    codec = _CODECS[kind]
    return {
        **code_version(),
        "python": platform.python_version(),
        "pillow": pillow_version,
        codec: str(features.version(codec)),
    }
