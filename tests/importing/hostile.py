"""Weight files that are made to hang, to take all memory, or to say something without end.

None runs anything: what runs something is in `test_refusals`. All are small.
"""

from __future__ import annotations

import io
import pickle
import random
import struct
import zipfile

Case = tuple[str, bytes]
_MODULUS = (1 << 61) - 1  # of Python's hashes of numbers


def text(value: str) -> bytes:
    data = value.encode()
    return b"X" + struct.pack("<I", len(data)) + data


def number(value: int) -> bytes:
    data = value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)
    return b"\x8b" + struct.pack("<I", len(data)) + data


def name(module: str, attribute: str) -> bytes:
    return f"c{module}\n{attribute}\n".encode()


def held(data: bytes) -> bytes:
    return b"B" + struct.pack("<I", len(data)) + data


def doubled(times: int = 60, start: bytes = b"K\1") -> bytes:
    """A tuple of a tuple, twice, of a tuple, twice, ...: 2^times values in a few bytes."""
    return start + b"\x94".join([b""] + [f"h{chr(n)}\x86".encode("latin-1") for n in range(times)])


def deep(times: int = 100_000) -> bytes:
    return b"K\1" + b"\x85" * times


def array(code: bytes, shape: bytes, data: bytes = b"\0" * 16) -> bytes:
    """A numpy array of a type and a shape that are given as instructions."""
    made = name("numpy.core.multiarray", "_reconstruct") + name("numpy", "ndarray") + b"K\0\x85" + held(b"b")
    kind = name("numpy", "dtype") + code + b"K\0K\1\x87R" + b"(K\3" + text("<") + b"NNNtb"
    return made + b"\x87R(K\1" + shape + kind + b"\x89" + held(data) + b"tb"


def tensor(shape: bytes, stride: bytes, count: bytes = b"K\4", offset: bytes = b"K\0") -> bytes:
    storage = b"(" + text("storage") + name("torch", "FloatStorage") + text("0") + text("cpu") + count + b"tQ"
    return name("torch._utils", "_rebuild_tensor_v2") + b"(" + storage + offset + shape + stride + b"\x89}tR"


def in_dict(value: bytes) -> bytes:
    return b"}" + text("g_ema") + b"}" + text("style.1.weight") + value + b"ss"


def plain(body: bytes) -> bytes:
    return b"\x80\x04" + body + b"."


def zipped(body: bytes, numbers: bytes = bytes(16)) -> bytes:
    """torch.save's format around a pickle."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("archive/data.pkl", plain(body))
        archive.writestr("archive/data/0", numbers)
    return buffer.getvalue()


def legacy(body: bytes) -> bytes:
    head = b"".join(pickle.dumps(n, 2) for n in (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True}))
    return head + plain(body) + pickle.dumps(["0"], 2) + struct.pack("<Q", 4) + bytes(16)


def repeated(argument: bytes, call: bytes, times: int = 500_000) -> bytes:
    """A value that is given to a call again and again."""
    return argument + b"\x940" + (call + b"h\0\x85R0") * times + b"}"


def _shared_network() -> bytes:
    """A module that holds itself twice, thirty times over."""
    call = name("torch_utils.persistence", "_reconstruct_persistent_obj")
    module = call + b"}" + text("class_name") + text("G") + b"s" + text("state") + b"}" + text("_modules")
    body = b"}\x940"
    for level in range(31):
        body += module + b"}" + b"".join(text(k) + f"h{chr(level)}".encode("latin-1") + b"s" for k in "ab")
        body += b"sssss"[:2] + b"\x85R\x940"
    return body


def _deep_network(times: int = 5000) -> bytes:
    call = name("torch_utils.persistence", "_reconstruct_persistent_obj")
    start = (
        call + b"}" + text("class_name") + text("G") + b"s" + text("state") + b"}" + text("_modules") + b"}"
    )
    return (
        start.join([b""] + [text("m") for _ in range(0)])
        + (start + text("m")) * times
        + b"N"
        + b"sss\x85R" * times
    )


LARGE = (1 << 62, 1 << 63, 1 << 64, 1 << 4000)


def _sizes() -> dict[str, bytes]:
    found = {}
    for n in LARGE:
        bits = n.bit_length() - 1
        found[f"a stride of 2^{bits}"] = zipped(in_dict(tensor(b"K\1\x85", number(n) + b"\x85")))
        found[f"a stride of 2^{bits} beside none"] = zipped(in_dict(tensor(b"K\0\x85", number(n) + b"\x85")))
        found[f"a side of 2^{bits} beside none"] = zipped(
            in_dict(tensor(b"K\0" + number(n) + b"\x86", b"K\1K\1\x86"))
        )
        found[f"a storage of 2^{bits}"] = zipped(in_dict(tensor(b"K\1\x85", b"K\1\x85", number(n))))
        found[f"an offset of 2^{bits}"] = zipped(in_dict(tensor(b"K\1\x85", b"K\1\x85", offset=number(n))))
        found[f"an array of 2^{bits}"] = plain(in_dict(array(text("f4"), number(n) + b"\x85")))
    return found


def _zip_lies() -> dict[str, bytes]:
    from tests.data.hostile_archives import with_field

    good = zipped(in_dict(tensor(b"K\4\x85", b"K\1\x85")))
    lies = [("offset", 2**32 - 1), ("offset", 2**31), ("offset", 3), ("size", 2**31), ("packed", 2**31)]
    lies += [("version", 255), ("method", 99), ("flags", 1), ("name length", 60000), ("extra length", 60000)]
    lies += [("disk", 7), ("local name length", 60000), ("directory offset", 2**31), ("directory offset", 0)]
    lies += [("directory length", 2**31), ("directory length", 10), ("entries", 60000), ("comment", 60000)]
    found = {f"a zip with {field} {value}": with_field(good, field, value) for field, value in lies}
    bad_name = good.replace(b"archive/data/0", b"archive/data\xff0")
    return {**found, "a zip with a name that is no UTF-8": with_field(bad_name, "flags", 0x800)}


def table() -> dict[str, bytes]:
    """One file of each kind by what is wrong with it; each must be refused in a line."""
    twice, shapes = doubled(), b"(" + number(1 << 60) * 100_000 + b"t"
    collisions = b"".join(number(_MODULUS * n) + b"N" for n in range(1, 60_001))
    many = b"(" + b"K\1" * 100_000
    values = {
        "a type that holds itself": plain(in_dict(array(twice, b"K\4\x85"))),
        "a shape that holds itself": plain(in_dict(array(text("f4"), twice))),
        "a tensor's shape that holds itself": zipped(in_dict(tensor(twice, b"K\1\x85"))),
        "a stride that holds itself": zipped(in_dict(tensor(b"K\1\x85", twice))),
        "a count that holds itself": zipped(in_dict(tensor(b"K\1\x85", b"K\1\x85", twice))),
        "an offset that holds itself": legacy(in_dict(tensor(b"K\1\x85", b"K\1\x85", offset=twice))),
        "a key that holds itself": plain(b"}" + twice + b"Ns"),
        "a whole that holds itself": plain(twice),
        "a deep type": plain(in_dict(array(deep(), b"K\4\x85"))),
        "a deep shape": zipped(in_dict(tensor(deep(), b"K\1\x85"))),
        "a deep stride": legacy(in_dict(tensor(b"K\1\x85", deep()))),
        "a deep count": zipped(in_dict(tensor(b"K\1\x85", b"K\1\x85", deep()))),
        "a deep whole": plain(deep()),
        "a deep thing called": plain(deep() + b")R"),
        "a deep network": plain(_deep_network()),
        "a network that shares itself": plain(_shared_network()),
        "keys that fall upon each other": plain(b"}(" + collisions + b"u"),
        "members that fall upon each other": plain(
            b"\x8f(" + collisions.replace(b"N\x8b", b"\x8b")[:-1] + b"\x90"),
        "100,000 sides": plain(in_dict(array(text("f4"), shapes))),
        "100,000 sides of a tensor": zipped(in_dict(tensor(shapes, shapes))),
        "a list copied": plain(repeated(many + b"l", name("torch", "Size"))),
        "a set copied": plain(repeated(many + b"l", name("builtins", "set"))),
        "a table copied": plain(repeated(b"(" + b"".join(number(n) + b"N" for n in range(50_000)) + b"d",
                                         name("argparse", "Namespace"))),
        "text copied": plain(repeated(text("x" * 1_000_000) + text("latin1") + b"\x86",
                                      name("_codecs", "encode"))).replace(b"h\0\x85R0", b"h\0R0"),
        "arguments without end": plain(repeated(many + b"t", name("pathlib", "PosixPath"))).replace(
            b"h\0\x85R0", b"h\0R0"),
        "a file in the file, again and again": plain(
            repeated(held(plain(many + b"l")), name("torch.storage", "_load_from_bytes"))),
        "instructions without end": plain(b"N0" * 6_000_000 + b"N"),
        "sets without end": plain(b"]" + b"(" + b"\x8f" * 6_000_000 + b"e"),
        "tables looked at again and again": plain(
            b"}(" + b"".join(number(n) + b"N" for n in range(100_000)) + b"u\x940}("
            + b"".join(number(n) + b"h\0" for n in range(100_000)) + b"u"),
        "a name of a megabyte": plain(name("os" * 500_000, "system")),
        "a key of a megabyte": plain(b"}" + text("k" * 1_000_000) + b"Ns"),
        "a name with escapes": plain(text("o\x1b[2J\ns") + text("s\r\n") + b"\x93"),
        "a number of a megabyte": zipped(in_dict(tensor(b"K\1\x85", b"K\1\x85", number(1 << 8_000_000)))),
        "a number in digits": plain(b"I" + b"9" * 100_000 + b"\n"),
        "text cut off": plain(b"X" + struct.pack("<I", 2**32 - 1) + b"x"),
        "bytes of 2^62": plain(b"\x8e" + struct.pack("<Q", 1 << 62) + b"x"),
        "a memo at 2^32": plain(b"Nr" + struct.pack("<I", 2**32 - 1)),
        "a frame of 2^62": b"\x80\x04\x95" + struct.pack("<Q", 1 << 62) + b"N.",
        "a text opened": plain(b"S'\\x'\n"),
        "a persistent id that holds itself": zipped(twice + b"Q"),
        "a view that holds itself": legacy(twice + b"Q"),
    }  # fmt: skip
    return {**values, **_sizes(), **_zip_lies()}


def _whole() -> list[bytes]:
    import torch

    state = {"g_ema": {f"style.{n}.weight": torch.ones(3, 3) for n in range(3)}, "args": {"size": 16}}
    found = [pickle.dumps({"G_ema": {"x": torch.ones(2).numpy()}}, protocol) for protocol in (2, 4)]
    for new in (True, False):
        buffer = io.BytesIO()
        torch.save(state, buffer, _use_new_zipfile_serialization=new)
        found.append(buffer.getvalue())
    return found


def _changed(data: bytes, rng: random.Random) -> bytes:
    changed = bytearray(data)
    for _ in range(rng.randrange(1, 6)):
        changed[rng.randrange(min(len(data), 1500))] = rng.randrange(256)
    return bytes(changed)


def _program(rng: random.Random) -> bytes:
    """Instructions at random, with values that some of them need."""
    known = [name("numpy", "dtype"), name("collections", "OrderedDict"), name("torch", "FloatStorage")]
    known += [name("argparse", "Namespace"), name("torch", "Size"), name("pathlib", "PosixPath")]
    known += [name("torch._utils", "_rebuild_tensor_v2"), name("builtins", "set"), name("torch", "device")]
    known += [name("torch_utils.persistence", "_reconstruct_persistent_obj"), name("_codecs", "encode")]
    values = [b"N", b"K\1", text("f4"), held(b"1234"), number(1 << 62), b")", b"]", b"}", b"\x8f", b"("]
    moves = [bytes([code]) for code in b"\x85\x86\x87tRb\x81sa2\x94ue\x90\x91ldQ01"] + [b"h\0", b"h\1"]
    parts = [
        rng.choice(rng.choice((known, values, values, moves, moves))) for _ in range(rng.randrange(3, 60))
    ]
    return plain(b"".join(parts))


def weights(seed: int, count: int) -> list[Case]:
    """The table, then damaged files and random programs up to `count`."""
    cases = list(table().items())
    whole = _whole()
    for n in range(count - len(cases)):
        rng = random.Random(f"{seed}-{n}")
        cases.append(("program", _program(rng)) if n % 2 else ("bytes", _changed(rng.choice(whole), rng)))
    return cases[:count]
