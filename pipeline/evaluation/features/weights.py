"""Files of published weights (Inception's, VGG16's, ...): found or downloaded, and verified before they are
read.

Most are pickles. Therefore their sha256 is compared first, and they are then read without executing code.
"""

from __future__ import annotations

import hashlib
import io
import os
import pickle
import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from pipeline.errors import UserError
from pipeline.storage.faults import explained
from pipeline.words import note

OPTION = "--extractor-weights FILE"
# Metrics are not named here, because they stand above weights.
WITHOUT_WEIGHTS = "hrgan evaluate --help names the metrics that need no weights"
WITHOUT = "the extractors inception and vgg16, and metrics without weights, do without"
_PATIENCE_SECONDS = 30.0


@dataclass(frozen=True)
class Published:
    """A file that others have published.

    what: the network, for people. names: the file's names in torch hub's folder
    ($TORCH_HOME/hub/checkpoints); a download gets the first. url: where it is published. sha256: of its
    bytes. option: the option that names another file. without: a hint at what works without it.
    """

    what: str
    names: tuple[str, ...]
    url: str
    sha256: str
    option: str
    without: str = WITHOUT_WEIGHTS


INCEPTION = Published(
    "Inception",
    # The same file as torch-fidelity and as pytorch-fid publish it.
    ("weights-inception-2015-12-05-6726825d.pth", "pt_inception-2015-12-05-6726825d.pth"),
    "https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/"
    "weights-inception-2015-12-05-6726825d.pth",
    "6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2",
    "--inception-weights FILE",
)
VGG16 = Published(
    "VGG16",
    ("vgg16-397923af.pth",),
    "https://download.pytorch.org/models/vgg16-397923af.pth",
    "397923af8e79cdbb6a7127f12361acd7a2f83e06b05044ddf496e83de57a5bf0",
    "--vgg-weights FILE",
)
VGG19 = Published(
    "VGG19",
    ("vgg19-dcbb9e9d.pth",),
    "https://download.pytorch.org/models/vgg19-dcbb9e9d.pth",
    "",  # whoever gives the file vouches for it
    "--vgg19 FILE",
)
LPIPS = Published(
    "LPIPS",
    ("lpips-vgg-v0.1.pth", "vgg.pth"),
    "https://github.com/richzhang/PerceptualSimilarity/raw/082bb24f84c091ea94de2867d34c4544f68e0963/"
    "lpips/weights/v0.1/vgg.pth",
    "a78928a0af1e5f0fcb1f3b9e8f8c3a2a5a3de244d830ad5c1feddc79b8432868",
    "--lpips-weights FILE",
)


@dataclass(frozen=True)
class InceptionWeights:
    """Where Inception's weights come from.

    path: the file; None looks in torch hub's folder, and downloads the file there if it is missing. sha256:
    the required digest. Figures with other weights than the published ones can be compared with nothing else,
    so that every result records it.
    """

    path: Path | None = None
    sha256: str = INCEPTION.sha256

    def read(self) -> dict[str, Tensor]:
        """The weights by name. Raises a one-line UserError if the file is missing or not the right one."""
        return read_tensors(INCEPTION, self.path, self.sha256)


@dataclass(frozen=True)
class PerceptualWeights:
    """The files of VGG16's and of LPIPS's weights; None works as for `InceptionWeights`. Figures with other
    weights than the published ones can be compared with nothing else."""

    vgg: Path | None = None
    lpips: Path | None = None
    vgg_sha256: str = VGG16.sha256
    lpips_sha256: str = LPIPS.sha256

    def read_vgg(self) -> dict[str, Tensor]:
        """VGG16's weights by name; errors as for `InceptionWeights.read`."""
        return read_tensors(VGG16, self.vgg, self.vgg_sha256)

    def read_lpips(self) -> dict[str, Tensor]:
        """LPIPS's weights by name; errors as for `InceptionWeights.read`."""
        return read_tensors(LPIPS, self.lpips, self.lpips_sha256)


@dataclass(frozen=True)
class ExtractorChoice:
    """The chosen extractor: a name in `extractors.EXTRACTORS` or an import path `package.module:factory`;
    None leaves each metric its own. `path` and `sha256` are those of weights that have no option of their
    own; None stands for torch hub's folder and the published sha256."""

    name: str | None = None
    path: Path | None = None
    sha256: str | None = None


def read_tensors(
    published: Published, path: Path | None = None, sha256: str | None = None
) -> dict[str, Tensor]:
    """Named tensors from a published file, or from `path` with a sha256 that the user vouches for."""
    path, data = read_checked(published, path, sha256)
    return parse_tensors(published, path, data)


def read_checked(
    published: Published, path: Path | None = None, sha256: str | None = None
) -> tuple[Path, bytes]:
    """The path and content of the file, after its sha256 was verified."""
    path = path if path is not None else _found_or_fetched(published)
    return path, _checked(published, path, sha256 or published.sha256)


def hub_folder() -> Path:
    """Torch hub's folder of weights, which $TORCH_HOME determines."""
    return Path(torch.hub.get_dir()) / "checkpoints"


def file_in_hub(published: Published) -> Path | None:
    """The file in torch hub's folder, whatever its content; None if there is none."""
    paths = [hub_folder() / name for name in published.names]
    return next((path for path in paths if path.is_file()), None)


def _found_or_fetched(published: Published) -> Path:
    return file_in_hub(published) or _fetch(published, hub_folder() / published.names[0])


def _fetch(published: Published, path: Path) -> Path:
    with explained(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    note(f"downloading {published.what} weights from {published.url}")
    try:
        with _impatient():
            # Written aside, checked and renamed by torch hub.
            torch.hub.download_url_to_file(published.url, str(path), hash_prefix=published.sha256)
    except (OSError, RuntimeError) as error:
        reason = str(getattr(error, "reason", error)).splitlines()[0]
        raise UserError(
            f"{path}: {published.what} weights are not there, and the download failed ({reason}); on a "
            f"machine with network access: curl -Lo {path.name} {published.url} , then put the file there or "
            f"give {published.option}; {published.without}"
        ) from error
    return path


@contextmanager
def _impatient() -> Iterator[None]:
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(_PATIENCE_SECONDS)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


def _checked(published: Published, path: Path, sha256: str) -> bytes:
    what, url = f"{published.what} weights", published.url
    return read_matching(
        path, sha256, what, f"expected {published.names[0]} from {url}", f"get the file again from {url}"
    )


def read_matching(
    path: Path, sha256: str, what: str, expected: str = "", mend: str = "give the file that has this sha256"
) -> bytes:
    """The content of a file, after verifying its sha256. The UserError says `what` the file should be, what
    is `expected` if it is missing, and how to `mend` a mismatch."""
    try:
        data = path.read_bytes()
    except OSError as error:
        reason = os.strerror(error.errno or 0)
        raise UserError(f"{path}: {what}: {reason}" + (f"; {expected}" if expected else "")) from error
    # The bytes that were checked are returned: the file is not read a second time.
    digest = hashlib.sha256(data).hexdigest()
    if digest != sha256.lower():
        raise UserError(f"{path}: {what}: sha256 is {digest}, must be {sha256}; {mend}")
    return data


def parse_tensors(published: Published, path: Path, data: bytes) -> dict[str, Tensor]:
    """Named tensors from the content of a verified file, without running any of its code."""
    try:
        state = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError) as error:
        raise UserError(
            f"{path}: {published.what} weights: not a file of plain tensors; none of its code was run"
        ) from error
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise UserError(f"{path}: {published.what} weights: must be tensors by name")
    return state


def check_digest(sha256: str | None, path: Path | None, option: str) -> str | None:
    """The sha256 that a user gave for a file of their own, in lower case. UserError unless it is a sha256 and
    comes with a file. `option` is the option's name, --NAME-digest, beside --NAME-weights."""
    if sha256 is None:
        return None
    if not re.fullmatch(r"[0-9a-fA-F]{64}", sha256):
        raise UserError(f"{option} {sha256}: must be a sha256, 64 hexadecimal digits")
    if path is None:
        file = option.replace("-digest", "-weights")
        raise UserError(f"{option}: needs {file} FILE, the file that has this sha256")
    return sha256.lower()


def chosen_weights(path: Path | None, sha256: str | None) -> InceptionWeights:
    """The published weights, or others for which the user gave both a file and its sha256."""
    return InceptionWeights(path, check_digest(sha256, path, "--inception-digest") or INCEPTION.sha256)


def chosen_extractor(name: str | None, path: Path | None, sha256: str | None) -> ExtractorChoice:
    """The user's choice of extractor. UserError for a digest without a file."""
    return ExtractorChoice(name, path, check_digest(sha256, path, "--extractor-digest"))


def chosen_perceptual(
    vgg: Path | None, vgg_sha256: str | None, lpips: Path | None, lpips_sha256: str | None
) -> PerceptualWeights:
    """The user's choice of weights. UserError for a digest without a file."""
    return PerceptualWeights(
        vgg,
        lpips,
        check_digest(vgg_sha256, vgg, "--vgg-digest") or VGG16.sha256,
        check_digest(lpips_sha256, lpips, "--lpips-digest") or LPIPS.sha256,
    )
