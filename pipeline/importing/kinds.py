"""Recognises files and folders that hold no weights which can be imported, and describes them for people."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from pathlib import Path

_STARTS = {
    b"version https:": "a pointer of git-lfs, not the file itself; fetch it first (git lfs pull)",
    b"<": "a web page, not the file itself; download it again",
    b"\x89PNG": "a PNG image",
    b"\xff\xd8": "a JPEG image",
    b"\x1f\x8b": "a gzip archive; unpack it first",
    b"BZh": "a bzip2 archive; unpack it first",
    b"\xfd7zXZ": "an xz archive; unpack it first",
    b"7z\xbc\xaf": "a 7z archive; unpack it first",
    b"Rar!": "a RAR archive; unpack it first",
    b"\x89HDF": "an HDF5 file, as Keras writes weights",
    b"GGUF": "a GGUF file of a language model",
    b"\x93NUMPY": "a numpy array",
    b"%PDF": "a PDF document",
}
_IMAGES = (".png", ".jpg", ".jpeg", ".webp")
_WEIGHTS = (".pkl", ".pt", ".pth")
_HEAD, _SHOWN = 1 << 20, 40


def kind_of(data: bytes) -> str:
    """What a file is that is neither a pickle nor a zip archive."""
    if not data:
        return "an empty file"
    for start, name in _STARTS.items():
        if data.startswith(start):
            return name
    if data[257:262] == b"ustar":
        return "a tar archive; unpack it first"
    if b"pytorch" in data[:64] and data[:1] == b"\x08":
        return "an ONNX model, which holds a network's operations rather than its weights by name"
    first = data[:_HEAD].splitlines()[0]
    if len(data) > 1 and first.isascii() and all(byte >= 32 or byte in b"\t\r" for byte in first):
        return f"a text file that begins with {first[:_SHOWN].decode()!r}"
    return "not a weight file"


def kind_of_zip(members: Sequence[zipfile.ZipInfo]) -> str | None:
    """What a zip archive is; None if torch.save may have written it."""
    names = [member.filename for member in members]
    if any(member.flag_bits & 1 for member in members):
        return "an encrypted zip archive; unpack it first, with its password"
    if any(name.endswith("/constants.pkl") for name in names):
        return "a TorchScript archive (torch.jit.save), which holds a program beside the weights"
    if any(name == "data.pkl" or name.endswith("/data.pkl") for name in names):
        return None
    if inside := [name for name in names if name.lower().endswith(_WEIGHTS)]:
        return f"a zip archive that holds {_listed(inside)}; unpack it first"
    if any(name.endswith(".npy") for name in names):
        return "an .npz of numpy arrays"
    if any(name.lower().endswith(_IMAGES) for name in names):
        return "a zip archive of images, which hrgan prepare takes"
    return None


def kind_of_pickle(data: bytes) -> str | None:
    """Where a pickle that cannot be read comes from, if its classes tell; otherwise None."""
    head = data[:_HEAD]
    if b"dnnlib.tflib" in head:
        if b"G_style" in head and b"G_main" not in head:
            return "a TensorFlow .pkl (dnnlib.tflib) of StyleGAN1"
        return (
            "a TensorFlow .pkl (dnnlib.tflib) of StyleGAN2; legacy.py of stylegan2-ada-pytorch converts it "
            "into one that can be imported"
        )
    if b"tfutil" in head and b"Network" in head:
        return "a TensorFlow .pkl (tfutil) of ProGAN"
    return None


def kind_of_folder(folder: Path) -> str:
    """What a folder is, judging by the names in it."""
    names = sorted(path.name for path in folder.iterdir())
    if "generator.safetensors" in names:
        return "a snapshot already, to be used as it is"
    if "snapshots" in names:
        return "a run, whose snapshots need no import"
    if "model_index.json" in names:
        return "a folder of a diffusers pipeline"
    if "saved_model.pb" in names:
        return "a folder of a TensorFlow SavedModel"
    if inside := [name for name in names if name.lower().endswith(_WEIGHTS)]:
        return f"a folder; name one of its files: {_listed(inside)}"
    return "a folder without a .pkl, .pt or .pth"


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(ascii(name)[1:-1][-_SHOWN:] for name in names[:3])
    return shown + (f" and {len(names) - 3} more" if len(names) > 3 else "")
