"""What `hrgan prepare` takes as SOURCE, in words: for help, errors and the documentation."""

from __future__ import annotations

from collections.abc import Mapping

KNOWN: Mapping[str, str] = {
    "a folder": "searched at any depth; links to folders, and links that lead out of the folder, are "
    "followed with `--follow-links`",
    ".zip": "compressed or not; nothing is unpacked to disk",
    ".tar": "not compressed as a whole: unpack `.tar.gz` first",
    "tars of other programs": "WebDataset shards: a folder of them, or a pattern such as "
    "`'shards/{000..127}.tar'`; classes from `.cls`, or by `--label-column` from a key of the `.json`",
    "CIFAR's binary version": "CIFAR-10 and CIFAR-100: the folder, for the training pictures, or one of its "
    "`.bin` files; of CIFAR-100, `--label-column` takes `fine` (the default) or `coarse`",
    "IDX files": "MNIST and the sets in its form, plain or `.gz`: the folder, for the training pictures, or "
    "a file of images, which has its file of labels beside it",
    "Parquet": "one file, or a folder of them as Hugging Face's hub has it; of a set with splits, "
    "`SOURCE:SPLIT` takes one",
    "Arrow": "what Hugging Face's `datasets` saves (`save_to_disk`) or caches; splits likewise",
    "LMDB": "a `.mdb` file or its folder: LSUN's, `image-...` beside `label-...`, or several resolutions",
    "videos": "one or a folder of them: one frame a second, or as `--every` says",
    "hf://OWNER/NAME": "a data set on Hugging Face's hub, fetched into its cache; after it `@REVISION`, "
    "`/PATH` and `:SPLIT`",
    "demo:digits": "scikit-learn's 1,797 handwritten digits, enlarged to 32 pixels, in ten classes (extra "
    "`demo`)",
    "demo:digits-on-photographs": "the same digits, each blended with a crop of one of two photographs, in "
    "colour, at 8 to 256 pixels",
    "demo:faces": "portraits that are drawn by the program, at 16 to 1024 pixels, with the colour of the "
    "hair as the class",
    "demo:heads": "heads in three dimensions, seen from all around at 16 to 1024 pixels, with the camera's "
    "azimuth and polar angle in degrees as the field `pose` and the colour of the hair as the class",
}
"""The words of each kind in the table `SOURCES` of `opening`, and remarks on it in Markdown."""


def source_words() -> str:
    """All kinds as a list in a sentence."""
    *first, last = KNOWN
    return f"{', '.join(first)} or {last}"
