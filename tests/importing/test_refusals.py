"""Files that would run code, lie about sizes, or are something else: one line each, and nothing is run."""

from __future__ import annotations

import io
import os
import pickle
import struct
import sys
import zipfile

import numpy as np
import pytest
import torch

from launch.main import main
from pipeline.contracts import ImageSpec
from tests.importing.writing import our_networks, rosinality_state, their_modules, write_ada

PLAIN = ImageSpec(16, 16, 3)


def refused(capsys, path, out=None) -> str:
    """What is said of a file that is refused with exit code 2, in one line that names it."""
    out = out or path.with_name("out")
    assert main(["import", str(path), str(out)]) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"hrgan: error: {path}: ")
    assert said.count("\n") == 1
    assert not out.exists()
    return said


def text(value: str) -> bytes:
    return b"X" + struct.pack("<I", len(value)) + value.encode()


def imported(module: str, name: str) -> bytes:
    """GLOBAL."""
    return f"c{module}\n{name}\n".encode()


def calling(module: str, name: str, *arguments: str) -> bytes:
    """A pickle that calls module.name with texts when Python loads it, and then holds an empty dict."""
    call = imported(module, name) + b"(" + b"".join(map(text, arguments)) + b"tR"
    return b"\x80\x02" + call + b"0}."


PAYLOADS = {
    "os.system": ("os", "system", "touch SENTINEL"),
    "posix.system": ("posix", "system", "touch SENTINEL"),
    "nt.system": ("nt", "system", "touch SENTINEL"),
    "builtins.exec": ("builtins", "exec", "open('SENTINEL', 'w')"),
    "builtins.eval": ("builtins", "eval", "open('SENTINEL', 'w')"),
    "__builtin__.eval": ("__builtin__", "eval", "open('SENTINEL', 'w')"),
    "builtins.open": ("builtins", "open", "SENTINEL", "w"),
    "builtins.getattr": ("builtins", "getattr", "a", "b"),
    "builtins.__import__": ("builtins", "__import__", "os"),
    "subprocess.getoutput": ("subprocess", "getoutput", "touch SENTINEL"),
    "subprocess.Popen": ("subprocess", "Popen", "touch SENTINEL"),
    "torch.hub.load": ("torch.hub", "load", "a/b", "c"),
    "torch.load": ("torch", "load", "SENTINEL"),
    "torch.serialization.load": ("torch.serialization", "load", "SENTINEL"),
    "numpy.load": ("numpy", "load", "SENTINEL"),
    "operator.attrgetter": ("operator", "attrgetter", "system"),
    "functools.partial": ("functools", "partial", "x"),
    "copyreg._reconstructor": ("copyreg", "_reconstructor", "x"),
    "runpy.run_path": ("runpy", "run_path", "SENTINEL"),
    "webbrowser.open": ("webbrowser", "open", "x"),
    "pickle.loads": ("pickle", "loads", "x"),
    "importlib.import_module": ("importlib", "import_module", "os"),
    "torch._utils._rebuild_tensor.__globals__": ("torch._utils", "_rebuild_tensor.__globals__"),
    "pathlib.Path.home": ("pathlib", "Path.home"),
    "torch.storage.os.system": ("torch.storage", "os.system", "touch SENTINEL"),
    "collections.OrderedDict.__reduce__": ("collections", "OrderedDict.__reduce__"),
}


@pytest.fixture
def sentinel(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    yield tmp_path / "SENTINEL"
    assert not (tmp_path / "SENTINEL").exists()


def test_the_sentinel_would_be_written(tmp_path, monkeypatch):
    """A control: Python's own loader does what these files ask."""
    monkeypatch.chdir(tmp_path)
    pickle.loads(calling(*PAYLOADS["os.system"]))
    assert (tmp_path / "SENTINEL").exists()


@pytest.mark.parametrize("name", PAYLOADS)
@pytest.mark.parametrize("where", ["pickle", "zip", "legacy", "storage"])
def test_a_call_is_refused_by_name(tmp_path, sentinel, capsys, name, where):
    payload = calling(*PAYLOADS[name])
    path = tmp_path / "a.pkl"
    if where == "pickle":
        path.write_bytes(payload)
    elif where == "zip":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("archive/data.pkl", payload)
    elif where == "legacy":
        head = [pickle.dumps(n, 2) for n in (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True})]
        path.write_bytes(b"".join(head) + payload + pickle.dumps([], 2))
    else:  # in the bytes of a storage, which PyTorch loads as a file of its own
        inner = b"B" + struct.pack("<I", len(payload)) + payload
        path.write_bytes(b"\x80\x03" + imported("torch.storage", "_load_from_bytes") + inner + b"\x85R.")
    said = refused(capsys, path)
    assert f"would import and may run {name};" in said
    assert "allowed: tensors, numpy arrays, numbers, text and plain containers" in said


def test_by_stack_and_by_old_instructions_too(tmp_path, sentinel, capsys):
    path = tmp_path / "a.pkl"
    path.write_bytes(
        b"\x80\x04" + text("posix") + text("system") + b"\x93" + text("touch SENTINEL") + b"\x85R."
    )
    assert "may run posix.system;" in refused(capsys, path)
    path.write_bytes(b"\x80\x02(" + text("touch SENTINEL") + b"ios\nsystem\n.")
    assert "the instruction INST" in refused(capsys, path)
    path.write_bytes(b"\x80\x02(" + imported("os", "system") + text("touch SENTINEL") + b"o.")
    assert "may run os.system;" in refused(capsys, path)
    path.write_bytes(b"\x80\x02\x82\x01.")
    assert "the instruction EXT1" in refused(capsys, path)


TRICKS = {
    "a name as the thing called": (text("os.system") + text("x") + b"\x85R.", "calls a value"),
    "a list called": (b"]" + text("x") + b"\x85R.", "calls a value"),
    "an allowed name with a state": (
        imported("collections", "OrderedDict") + b"}" + text("__call__") + text("x") + b"sb.",
        "sets attributes of a Global",
    ),
    "a state for a list": (b"]}" + text("append") + text("x") + b"sb.", "sets attributes of a list"),
    "attributes by slots": (
        imported("argparse", "Namespace") + b")\x81N}" + text("__class__") + text("x") + b"s\x86b.",
        "sets attributes of a Bag",
    ),
    "a tensor type called": (
        imported("torch", "FloatStorage") + text("x") + b"\x85R.",
        "calls torch.FloatStorage",
    ),
    "an object without constructor": (
        imported("_codecs", "encode") + text("x") + b"\x85\x81.",
        "makes a _codecs.encode without",
    ),
    "bytes through a codec": (
        imported("_codecs", "encode") + text("x") + text("zip_codec") + b"\x86R.",
        "bytes in an unknown encoding",
    ),
    "a tuple as key": (b"}" + b"(ttN" + b"s.", "cut off or damaged"),
    "a nested tuple as key": (b"})" + b"\x85" * 40 + b"Ns.", "a key that is a tuple"),
    "a persistent id": (text("x") + b"Q.", "a persistent id where there are none"),
    "nothing on the stack": (b"R.", "cut off or damaged"),
    "two values left": (b"NN.", "cut off or damaged"),
    "a memo that is not there": (b"h\x05.", "cut off or damaged"),
    "a storage that calls": (
        imported("torch.storage", "_load_from_bytes") + b"]" + b"\x85R.",
        "a nested file",
    ),
    "a number for a whole": (b"K\x05.", "it holds a int"),
}


@pytest.mark.parametrize("name", TRICKS)
def test_tricks_with_what_is_allowed(tmp_path, sentinel, capsys, name):
    body, message = TRICKS[name]
    (tmp_path / "a.pkl").write_bytes(b"\x80\x02" + body)
    assert message in refused(capsys, tmp_path / "a.pkl")


def test_setstate_of_a_persistent_object_stays_data(tmp_path, sentinel, capsys):
    """Names of attributes with meaning to Python are but keys here."""
    odd = {"__class__": "x", "__setstate__": "y", "__dict__": {}, "__reduce__": "z"}
    write_ada(tmp_path / "a.pkl", our_networks(), odd=odd)
    assert main(["import", str(tmp_path / "a.pkl"), str(tmp_path / "out")]) == 0
    assert not (tmp_path / "ran-the-source").exists()


def test_a_payload_among_good_weights_is_refused(tmp_path, sentinel, capsys):
    class Evil:
        def __reduce__(self):
            return os.system, ("touch SENTINEL",)

    write_ada(tmp_path / "a.pkl", our_networks(), extra=Evil())
    assert f"may run {os.name}.system;" in refused(capsys, tmp_path / "a.pkl")
    torch.save({**rosinality_state(our_networks(PLAIN)), "extra": Evil()}, tmp_path / "b.pt")
    assert f"may run {os.name}.system;" in refused(capsys, tmp_path / "b.pt")


def test_numpy_arrays_of_objects_are_refused(tmp_path, sentinel, capsys):
    (tmp_path / "a.pkl").write_bytes(pickle.dumps({"x": np.array([{}, []], dtype=object)}))
    assert "a numpy array of type 'O8'" in refused(capsys, tmp_path / "a.pkl")
    (tmp_path / "a.pkl").write_bytes(pickle.dumps({"x": np.zeros(2, dtype=[("a", "f4")])}))
    assert "a numpy array of type 'V4'" in refused(capsys, tmp_path / "a.pkl")


def test_a_tensorflow_file_is_told_how_to_convert(tmp_path, capsys):
    (tmp_path / "a.pkl").write_bytes(b"\x80\x03" + imported("dnnlib.tflib.network", "Network") + b")\x81.")
    assert "legacy.py of stylegan2-ada-pytorch converts it into one that can be imported" in refused(
        capsys, tmp_path / "a.pkl"
    )


def forged(count: int, shape, stride, numbers: int = 4, offset: int = 0, kind=zipfile.ZIP_STORED) -> bytes:
    """A torch.save file of one tensor that says what it likes of its sizes."""

    class Pickler(pickle.Pickler):
        def persistent_id(self, value):
            return ("storage", torch.FloatStorage, "0", "cpu", count) if value == "STORAGE" else None

    class Tensor:
        def __reduce__(self):
            return torch._utils._rebuild_tensor_v2, ("STORAGE", offset, shape, stride, False, {})

    body = io.BytesIO()
    Pickler(body, 2).dump({"g_ema": {"style.1.weight": Tensor()}})
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", kind) as archive:
        archive.writestr("archive/data.pkl", body.getvalue())
        archive.writestr("archive/data/0", b"\0" * 4 * numbers)
    return file.getvalue()


LIES = {
    "more numbers than the file": (forged(1 << 30, (1 << 30,), (1,)), "but fewer are there"),
    "absurdly many": (forged(1 << 60, (1,), (1,)), "a storage of 1152921504606846976 numbers"),
    "a shape beyond its storage": (forged(4, (5,), (1,)), "a tensor of shape (5,) in a storage of 4"),
    "an offset beyond it": (forged(4, (2,), (1,), offset=3), "a tensor of shape (2,) in a storage of 4"),
    "an expanded tensor": (forged(4, (1 << 40,), (0,)), "in a storage of 4 numbers"),
    "negative strides": (forged(4, (2,), (-1,)), "impossible shape"),
    "an offset before it": (forged(4, (2,), (1,), offset=-1), "impossible shape"),
    "a compressed bomb": (
        forged(1 << 20, (1 << 20,), (1,), numbers=1 << 20, kind=zipfile.ZIP_DEFLATED),
        "compressed members",
    ),
}


@pytest.mark.parametrize("name", LIES)
def test_sizes_are_held_against_the_file(tmp_path, capsys, name):
    data, message = LIES[name]
    (tmp_path / "a.pt").write_bytes(data)
    assert message in refused(capsys, tmp_path / "a.pt")


@pytest.mark.parametrize("kind", ["pickle", "zip", "legacy"])
def test_a_file_that_is_cut_off_anywhere_is_refused(tmp_path, capsys, kind):
    if kind == "pickle":
        write_ada(tmp_path / "whole", our_networks())
    else:
        state = rosinality_state(our_networks(PLAIN))
        torch.save(state, tmp_path / "whole", _use_new_zipfile_serialization=kind == "zip")
    whole = (tmp_path / "whole").read_bytes()
    for part in (0.01, 0.3, 0.6, 0.9, 0.999):
        (tmp_path / "a.pt").write_bytes(whole[: int(len(whole) * part)])
        said = refused(capsys, tmp_path / "a.pt")
        assert "cut off" in said or "damaged" in said


def test_flipped_bytes_never_end_in_a_traceback(tmp_path, capsys):
    state = rosinality_state(our_networks(PLAIN))
    torch.save(
        {"g_ema": dict(list(state["g_ema"].items())[:3])},
        tmp_path / "whole",
        _use_new_zipfile_serialization=False,
    )
    whole = (tmp_path / "whole").read_bytes()
    chosen = np.random.default_rng(0)
    for _ in range(150):
        data = bytearray(whole)
        for place in chosen.integers(0, min(len(data), 600), 2):
            data[place] = chosen.integers(0, 256)
        (tmp_path / "a.pt").write_bytes(data)
        refused(capsys, tmp_path / "a.pt")


OTHERS = {
    "empty": (b"", "an empty file"),
    "png": (b"\x89PNG\r\n\x1a\n", "a PNG image"),
    "jpeg": (b"\xff\xd8\xff\xe0", "a JPEG image"),
    "page": (b"<!DOCTYPE html>", "a web page"),
    "gzip": (b"\x1f\x8b\x08", "a gzip archive"),
    "safetensors": (struct.pack("<Q", 2) + b'{"a":{}}', "safetensors"),
    "pointer": (b"version https" + b"://git-lfs/spec/v1", "a pointer of git-lfs"),
    "text": (b"hello there", "a text file that begins with 'hello there'"),
    "another zip": (None, "a zip archive of images, which hrgan prepare takes"),
}


@pytest.mark.parametrize("name", OTHERS)
def test_other_files_are_told_apart(tmp_path, capsys, name):
    data, message = OTHERS[name]
    if data is None:
        with zipfile.ZipFile(tmp_path / "a.pkl", "w") as archive:
            archive.writestr("images/1.png", "x")
    else:
        (tmp_path / "a.pkl").write_bytes(data)
    said = refused(capsys, tmp_path / "a.pkl")
    assert message in said
    assert "allowed: a .pkl of StyleGAN2 by stylegan2-ada-pytorch or stylegan3" in said


def test_a_folder_and_nothing_are_refused(tmp_path, capsys):
    assert "a folder without a .pkl, .pt or .pth; allowed: a .pkl" in refused(
        capsys, tmp_path, tmp_path / "out"
    )
    assert "cannot be read: No such file" in refused(capsys, tmp_path / "none.pkl")


def test_their_modules_are_gone_once_a_file_is_written():
    with their_modules():
        assert "dnnlib" in sys.modules
    assert "dnnlib" not in sys.modules
