"""The digest of what a source lists, in pieces: a listing may be larger than memory."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.data.sources.source import Listing

_ENTRIES = 10_000  # at a time


def listing_digest(listing: Listing, labels: npt.NDArray[np.int32] | None) -> str:
    """16 hexadecimal digits of the sha256 of the JSON list [names, sizes, labels]; labels: the class number
    of each picture, or null."""
    digest = hashlib.sha256(b"[")
    for values in (listing.names, listing.sizes):
        _hash_list(digest, values)
        digest.update(b", ")
    if labels is None:
        digest.update(b"null")
    else:
        _hash_list(digest, labels)
    digest.update(b"]")
    return digest.hexdigest()[:16]


def _hash_list(digest: hashlib._Hash, values: Sequence[Any] | npt.NDArray[Any]) -> None:
    digest.update(b"[")
    for start in range(0, len(values), _ENTRIES):
        part = values[start : start + _ENTRIES]
        text = json.dumps(part.tolist() if isinstance(part, np.ndarray) else list(part))
        digest.update((", " if start else "").encode() + text[1:-1].encode())
    digest.update(b"]")
