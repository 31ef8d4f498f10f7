"""What people bring to `hrgan import` that cannot be taken: one line says what it is, and what is taken."""

from __future__ import annotations

import io
import json
import pickle
import struct
import sys
import tarfile
import zipfile
from types import ModuleType

import numpy as np
import pytest
import torch
from torch import nn

from tests.importing.test_refusals import refused
from tests.importing.writing import their_modules

ONE = nn.Parameter(torch.ones(1))


def nvidia(generator: tuple[str, str], discriminator: tuple[str, str] = ("Discriminator", "b4.out.bias")):
    """A .pkl of networks as NVIDIA's code writes them: for each, its class and the name of one tensor."""

    def written(path):
        with their_modules() as (kind, _):
            networks = {}
            for key, (name, tensor) in {"G": generator, "D": discriminator, "G_ema": generator}.items():
                module = networks[key] = kind(name)
                *places, last = tensor.split(".")
                for place in places:
                    setattr(module, place, kind("Layer"))
                    module = module._modules[place]
                module.register_parameter(last, ONE)
            path.write_bytes(pickle.dumps({**networks, "augment_pipe": None}))

    return written


def tensorflow(package: str, kind: str, source: str):
    """A .pkl of three objects that hold arrays and their network's source, as TensorFlow's GANs wrote."""

    def written(path):
        module = ModuleType(package)
        network = type("Network", (), {"__module__": package})
        module.Network = network
        made = {".".join(package.split(".")[: n + 1]): module for n in range(package.count(".") + 1)}
        sys.modules.update(made)
        try:
            found = network()
            found.__dict__ |= {"name": "G", "build_func_name": kind, "build_module_src": source}
            found.variables = [("4x4/Const/const", np.ones(3, np.float32))]
            path.write_bytes(pickle.dumps((found, found, found), protocol=2))
        finally:
            for name in made:
                del sys.modules[name]

    return written


def saved(value):
    """By torch.save."""
    return lambda path: torch.save(value, path)


def zipped(**members: bytes):
    """A zip archive; the first underscore of a name stands for a dot."""

    def written(path):
        with zipfile.ZipFile(path, "w") as archive:
            for name, content in members.items():
                archive.writestr(name.replace("_", ".", 1), content)

    return written


def encrypted(path):
    """A zip archive whose flags say that its member is encrypted."""
    zipped(weights_pkl=b"x" * 20)(path)
    data = bytearray(path.read_bytes())
    for signature, offset in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        data[data.index(signature) + offset] |= 1
    path.write_bytes(bytes(data))


def in_a_tar(path):
    with tarfile.open(path, "w") as archive:
        archive.addfile(tarfile.TarInfo("weights.pkl"), io.BytesIO())


def scripted(path):
    with zipfile.ZipFile(path, "w") as archive:
        for name in ("data.pkl", "constants.pkl", "code/__torch__.py"):
            archive.writestr(f"net/{name}", b"x")


def folder(*names: str):
    def written(path):
        path.mkdir()
        for name in names:
            (path / name).write_bytes(b"{}")

    return written


def content(data: bytes):
    return lambda path: path.write_bytes(data)


SAFETENSORS = json.dumps({"x": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}).encode()
STATE = {"epoch": 3, "state_dict": {"weight": torch.ones(2)}}
BROUGHT = {
    "stylegan-xl": (
        nvidia(("SuperresGenerator", "synthesis.L0_36_512.weight"), ("ProjectedDiscriminator", "x.weight")),
        "a StyleGAN-XL .pkl",
    ),
    "stylegan-t": (
        nvidia(("Generator", "synthesis.input.freqs"), ("ProjectedDiscriminator", "dino.weight")),
        "a StyleGAN-T .pkl",
    ),
    "projected gan": (
        nvidia(("Generator", "synthesis.init.weight"), ("ProjectedDiscriminator", "x.weight")),
        "a Projected GAN .pkl",
    ),
    "eg3d": (nvidia(("TriPlaneGenerator", "backbone.mapping.weight")), "an EG3D .pkl"),
    "r3gan": (nvidia(("Generator", "Model.MainLayers.weight")), "an R3GAN .pkl"),
    "stylegan1": (tensorflow("dnnlib.tflib.network", "G_style", "def G_style(): ..."), "of StyleGAN1"),
    "stylegan2 of tensorflow": (
        tensorflow("dnnlib.tflib.network", "G_main", "def G_main(): ..."),
        "of StyleGAN2; legacy.py of stylegan2-ada-pytorch converts it into one that can be imported",
    ),
    "progan of tensorflow": (tensorflow("tfutil", "G_paper", "def G_paper(): ..."), "(tfutil) of ProGAN"),
    "progan of pytorch_GAN_zoo": (
        saved({"netG": {"scaleLayers.0.0.weight": ONE}, "netD": {"x": ONE}, "avgG": {"x": ONE}}),
        "a ProGAN .pth of pytorch_GAN_zoo",
    ),
    "dcgan of pytorch_GAN_zoo": (
        saved({"netG": {"main.0.weight": ONE}, "netD": {"x": ONE}}),
        "a checkpoint of pytorch_GAN_zoo",
    ),
    "lucidrains": (saved({"GAN": {"S.net.0.weight": ONE}, "version": "1"}), "lucidrains' stylegan2_pytorch"),
    "biggan's discriminator": (
        saved({"linear.weight": ONE, "linear.u0": ONE, "embed.weight": ONE, "embed.u0": ONE}),
        "a discriminator of BigGAN-PyTorch, whose generator is in G.pth or G_ema.pth",
    ),
    "stable diffusion": (
        saved({"state_dict": {"model.diffusion_model.out.weight": ONE}}),
        "a diffusion model's checkpoint",
    ),
    "lightning": (saved(STATE), "PyTorch Lightning or PyTorch-StudioGAN"),
    "dcgan": (saved({"main.0.weight": ONE}), "a DCGAN in one stack of layers"),
    "another state dict": (saved({"encoder.weight": ONE}), "unknown format: it holds encoder.weight"),
    "diffusers": (folder("model_index.json", "unet"), "a folder of a diffusers pipeline"),
    "a folder of weights": (
        folder("a.pkl", "b.pt", "c.pth", "d.pth"),
        "name one of its files: a.pkl, b.pt, c.pth",
    ),
    "a folder of something": (folder("a.txt"), "a folder without a .pkl, .pt or .pth"),
    "a snapshot": (folder("manifest.json", "generator.safetensors"), "a snapshot already"),
    "a run": (folder("config.yaml", "snapshots"), "a run, whose snapshots need no import"),
    "safetensors": (
        content(struct.pack("<Q", len(SAFETENSORS)) + SAFETENSORS + bytes(4)),
        "unknown format: it holds x; allowed",
    ),
    "a pointer": (
        content(b"version https" + b"://git-lfs/spec/v1\noid sha256:0\n"),
        "a pointer of git-lfs",
    ),
    "a page": (content(b"<!DOCTYPE html><html>"), "a web page, not the file itself"),
    "a text": (content(b"Dear colleague,\nthe weights"), "a text file that begins with 'Dear colleague,'"),
    "nothing": (content(b""), "an empty file"),
    "keras": (content(b"\x89HDF\r\n\x1a\n" + bytes(40)), "an HDF5 file"),
    "onnx": (content(b"\x08\x07\x12\x07pytorch\x1a\x032.0" + bytes(40)), "an ONNX model"),
    "a tar": (in_a_tar, "a tar archive; unpack it first"),
    "gzip": (content(b"\x1f\x8b\x08" + bytes(20)), "a gzip archive; unpack it first"),
    "encrypted": (encrypted, "an encrypted zip archive; unpack it first, with its password"),
    "a zip of weights": (zipped(faces_pkl=b"x"), "a zip archive that holds faces.pkl; unpack it first"),
    "a zip of images": (zipped(a_png=b"x", b_png=b"x"), "a zip archive of images, which hrgan prepare takes"),
    "arrays": (zipped(x_npy=b"x"), "an .npz of numpy arrays"),
    "torchscript": (scripted, "a TorchScript archive"),
}


@pytest.mark.parametrize("name", BROUGHT)
def test_what_cannot_be_taken_is_named(tmp_path, capsys, name):
    write, words = BROUGHT[name]
    path = tmp_path / "brought.pkl"
    write(path)
    said = refused(capsys, path)
    assert words in said
    assert "; allowed: a " in said
    assert "stylegan2-ada-pytorch" in said.rpartition("allowed:")[2]
