"""A typo is an error that teaches: each message by its text."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.config.load import load_config
from pipeline.config.run import EngineConfig
from pipeline.errors import UserError
from pipeline.models.registry import FAMILIES

NAMES = ", ".join(FAMILIES)
MINIMAL = "family: {name: stylegan2}\n"


def _error(path: Path, *overrides: str) -> str:
    with pytest.raises(UserError) as caught:
        load_config(path, overrides)
    return str(caught.value)


FILES = {
    "typo at the top": (
        MINIMAL + "bacth: {size: 3}",
        "a.yaml line 2: bacth: unknown key; did you mean batch?",
    ),
    "typo one level down": (
        MINIMAL + "batch:\n  sizee: 3\n",
        "a.yaml line 3: batch.sizee=3: unknown key; did you mean batch.size?",
    ),
    "typo three levels down": (
        "family:\n  name: stylegan2\n  ada:\n    targt: .6",
        "a.yaml line 4: family.ada.targt=0.6: unknown key; did you mean family.ada.target?",
    ),
    "key of another section": (
        MINIMAL + "r1_gamma: 1",
        "a.yaml line 2: r1_gamma=1: unknown key; did you mean family.r1_gamma?",
    ),
    "no key is near": (
        MINIMAL + "engine: {zzz: 1}",
        "a.yaml line 2: engine.zzz=1: unknown key; allowed here: " + ", ".join(EngineConfig.model_fields),
    ),
    "neither a count nor auto": (
        MINIMAL + "batch: {micro: abc}",
        "a.yaml line 2: batch.micro=abc: must be a whole number greater than 0, null or auto",
    ),
    "unknown family": (
        "family:\n  name: stylegan22",
        "a.yaml line 2: family.name=stylegan22: unknown; allowed: " + NAMES + "; did you mean stylegan2?",
    ),
    "family without a name": (
        "family: {z_dim: 3}",
        "a.yaml line 1: family.name: missing; allowed: " + NAMES,
    ),
    "no family": ("seed: 1", "a.yaml: family.name: missing; allowed: " + NAMES),
    "family is a word": (
        "family: stylegan2",
        "a.yaml line 1: family=stylegan2: is a section, not a value; its keys: name, ",
    ),
    "section without keys": (
        MINIMAL + "ops:",
        "a.yaml line 2: ops: is a section, not a value; its keys: backend",
    ),
    "two augmentations": (
        "family: {name: stylegan2, ada: {mode: fixed}, diffaugment: [color]}",
        "a.yaml line 1: family: diffaugment=['color']: not with ada.mode=fixed; allowed: with ada.mode=off",
    ),
    "two augmentations, one by default": (
        "family: {name: r3gan, diffaugment: [color]}",
        "a.yaml line 1: family: diffaugment=['color']: not with augment_p=0, augment_p_end=0.3; allowed: ",
    ),
    "noise that nobody can be told of": (
        "family: {name: biggan, diffusion: {mode: adaptive}}",
        "a.yaml line 1: family: diffusion.told=true: this family's discriminator cannot be told",
    ),
    "noise told to a classifier": (
        "family: {name: stylegan2, conditioning: classifier, diffusion: {mode: adaptive}}",
        "a.yaml line 1: family: diffusion.told=true: not with conditioning=classifier",
    ),
    "no room between two bounds": (
        "family: {name: stylegan2, diffusion: {least_steps: 2000}}",
        "a.yaml line 1: family.diffusion: least_steps=2000 is above most_steps=1000; allowed: up to it",
    ),
    "micro-batch does not divide": (
        MINIMAL + "batch: {size: 32, micro: 5}",
        "a.yaml: batch.micro=5 does not divide batch.size=32",
    ),
    "base 60 is no number": (MINIMAL + "seed: 1:30", "a.yaml line 2: seed=1:30: must be a valid integer"),
    "truth is no number": (
        MINIMAL + "seed: true",
        "a.yaml line 2: seed=true: must be a number, not true or false",
    ),
    "duplicate key": (
        MINIMAL + "batch:\n  size: 2\n  size: 3",
        "a.yaml line 4: batch.size is given twice (first in line 3)",
    ),
    "interpolation": (
        MINIMAL + "data: {path: '${oc.env:HOME}'}",
        "a.yaml line 2: data.path=${oc.env:HOME}: interpolation is not allowed; write the value itself",
    ),
    "missing-value marker": (MINIMAL + "data: {path: '???'}", "a.yaml line 2: data.path=???: interpolation"),
    "anchor": (
        MINIMAL + "x: &a 1\ny: *a",
        "a.yaml line 2: anchors and aliases are not allowed; use `inherit:`",
    ),
    "python object": (MINIMAL + "x: !!python/name:os.system ''", "a.yaml line 2: tag "),
    "number as key": (MINIMAL + "1: 2", "a.yaml line 2: '1' is not a key; allowed: a word"),
    "broken YAML": (
        "a: [1\nb: 2",
        "a.yaml line 2: not valid YAML: expected ',' or ']'",
    ),
    "list": ("- 1", "a.yaml: not a configuration; allowed: YAML of the form `key: value`"),
    "word": ("stylegan2", "a.yaml: not a configuration"),
    "empty": ("# nothing", "a.yaml: empty; allowed: YAML of the form `key: value`"),
    "inherits itself": ("inherit: a.yaml", "a.yaml line 1: inherit=a.yaml: goes in a circle: "),
    "inherits nothing": (
        "inherit: basee.yaml",
        "a.yaml line 1: inherit=basee.yaml: no such file; did you mean ",
    ),
    "inherits a number": ("inherit: 3", "a.yaml line 1: inherit=3: must be a file name or a list of them"),
    "nested inherit": (
        MINIMAL + "data: {inherit: base.yaml}",
        "a.yaml line 2: data.inherit=base.yaml: unknown key",
    ),
}


@pytest.mark.parametrize("name", FILES)
def test_a_wrong_file(tmp_path: Path, name: str) -> None:
    text, expected = FILES[name]
    (tmp_path / "base.yaml").write_text(MINIMAL)
    (tmp_path / "a.yaml").write_text(text)
    message = _error(tmp_path / "a.yaml")
    assert message.startswith(str(tmp_path / expected.split(":")[0].split(" ")[0]))
    assert expected in message
    assert "\n" not in message
    assert "pydantic" not in message


OVERRIDES = {
    "batch.sizee=3": "override: batch.sizee=3: unknown key; did you mean batch.size?",
    "batch_size=3": "override: batch_size=3: unknown key; did you mean batch.size?",
    "zzz=3": "override: zzz=3: unknown key; allowed here: seed, length, data",
    "inherit=b.yaml": "override: inherit=b.yaml: unknown key",
    "batch.size=-4": "override: batch.size=-4: must be greater than 0",
    "batch.size=0": "override: batch.size=0: must be greater than 0",
    "family.ada.p=1.5": "override: family.ada.p=1.5: must be less than or equal to 1",
    "family.adam_beta1=1": "override: family.adam_beta1=1: must be less than 1",
    "family.generator_rate=.inf": "override: family.generator_rate=inf: must be a finite number",
    "data.lanes=100k": "override: data.lanes=100k: must be a valid integer",
    "data.mirror=maybe": "override: data.mirror=maybe: must be a valid boolean",
    "data.path=12": "override: data.path=12: must be a valid string; put it in quotes",
    "batch.size=33x": "override: batch.size=33x: not a count; allowed: a whole number or one with k, M or G",
    "length.images=1.5": "override: length.images=1.5: not a whole number of images",
    "length.time=soon": "override: length.time=soon: not a time; allowed: seconds, or numbers with s, m, h",
    "engine.kind=ddp": "override: engine.kind=ddp: allowed: replicated, zero",
    "engine.stage=3": "override: engine.stage=3: 3 is not offered: it splits the weights",
    "ops.backend=cuda": "override: ops.backend=cuda: allowed: auto, native, reference",
    "family.ada.kinds=[blit,colour]": "override: family.ada.kinds.1=colour: allowed: blit, geometry, color",
    "family.ada.kinds=blit": "override: family.ada.kinds=blit: must be a list, such as [a, b]",
    "batch=32": "override: batch=32: is a section, not a value; its keys: size, micro",
    "batch.size={a: 1}": "override: batch.size: must be a valid integer",
    "family.name=vae": "override: family.name=vae: unknown; allowed: " + NAMES,
    "batch.size": "override 'batch.size': expected key.path=value, such as batch.size=16",
    "=3": "override '=3': expected key.path=value",
    "a..b=3": "override 'a..b=3': expected key.path=value",
    "--flag": "override '--flag': expected key.path=value",
    "data.path=[": "override: data.path=[: not valid YAML",
    "data.path=${seed}": "override: data.path=${seed}: interpolation is not allowed; write the value itself",
    "data={path: '${oc.env:HOME}'}": "override: data.path=${oc.env:HOME}: interpolation is not allowed",
    "data={path: a, path: b}": "override: data={path: a, path: b}: data.path is given twice",
}


@pytest.mark.parametrize("override", OVERRIDES)
def test_a_wrong_override(tmp_path: Path, override: str) -> None:
    (tmp_path / "a.yaml").write_text(MINIMAL)
    message = _error(tmp_path / "a.yaml", "seed=1", override)
    if "given twice" not in OVERRIDES[override]:
        assert message.startswith(OVERRIDES[override])
    assert "\n" not in message


def test_several_errors_have_a_line_each(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(MINIMAL + "batch: {size: x}\n")
    lines = _error(tmp_path / "a.yaml", "engine.kind=ddp", "sed=1").splitlines()
    assert len(lines) == 3
    assert lines[0].startswith(f"{tmp_path}/a.yaml line 2: batch.size=x: not a count")
    assert lines[1] == "override: engine.kind=ddp: allowed: replicated, zero"
    assert lines[2] == "override: sed=1: unknown key; did you mean seed?"


def test_an_inherited_value_names_the_file_it_came_from(tmp_path: Path) -> None:
    (tmp_path / "base.yaml").write_text(MINIMAL + "batch: {size: -1}\n")
    (tmp_path / "a.yaml").write_text("inherit: base.yaml\nseed: 3\n")
    assert _error(tmp_path / "a.yaml") == (
        f"{tmp_path}/base.yaml line 2: batch.size=-1: must be greater than 0"
    )


def test_a_circle_of_two(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("inherit: b.yaml\n")
    (tmp_path / "b.yaml").write_text("inherit: [./a.yaml]\n")
    route = f"{tmp_path}/a.yaml -> {tmp_path}/b.yaml -> {tmp_path}/a.yaml"
    assert _error(tmp_path / "a.yaml").endswith(f"goes in a circle: {route}")


def test_the_same_base_twice_is_no_circle(tmp_path: Path) -> None:
    (tmp_path / "base.yaml").write_text(MINIMAL)
    (tmp_path / "b.yaml").write_text("inherit: base.yaml\n")
    (tmp_path / "a.yaml").write_text("inherit: [base.yaml, b.yaml]\n")
    assert load_config(tmp_path / "a.yaml").seed == 0


def test_files_that_are_none(tmp_path: Path) -> None:
    (tmp_path / "quickstart.yaml").write_text(MINIMAL)
    assert _error(tmp_path / "quikstart.yaml") == (
        f"{tmp_path}/quikstart.yaml: no such file; did you mean {tmp_path}/quickstart.yaml?"
    )
    assert _error(tmp_path / "zz.yaml").endswith(f"in {tmp_path} there are: quickstart.yaml")
    assert _error(tmp_path) == f"{tmp_path}: is a folder; expected a YAML file"
    (tmp_path / "image.png").write_bytes(b"\x89PNG\r\n\x1a\n\x00\xff")
    assert (
        _error(tmp_path / "image.png")
        == f"{tmp_path}/image.png: not text in UTF-8; allowed: YAML of the form `key: value`"
    )
    (tmp_path / "nul.yaml").write_bytes(b"a: \x00")
    assert _error(tmp_path / "nul.yaml") == f"{tmp_path}/nul.yaml: not a YAML text file"
