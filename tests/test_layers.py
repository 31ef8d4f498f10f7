"""The architecture as a test: who imports whom, what stays in its room, how long things get."""

from __future__ import annotations

import ast
import re
import statistics
import sys
import typing
from collections.abc import Iterator

import pytest

from pipeline.config.run import RunConfig
from pipeline.evaluation.metrics.registry import METRICS
from tests.product import PRODUCT, ROOT, Source, sources

# What everybody may import: errors, seeds, true float32, kernels, and the reader of small files.
FREE = {
    *("pipeline.errors", "pipeline.randomness", "pipeline.float32", "pipeline.kernels", "pipeline.reading"),
    *("pipeline.words", "pipeline.versions"),
}
BASE = {"pipeline.contracts", "pipeline.latents", "pipeline.config"}
# What reads a data set that is there; `sources` and `preparing` make one.
DATA = {"pipeline.data.shards", "pipeline.data.streaming", "pipeline.data.stores"}
SHOWN = {"pipeline.images", "pipeline.board"}
LAUNCHED = {"launch.options", "launch.cluster", "launch.failures"}
FROZEN = {"pipeline.perceptual", "pipeline.dinov2"}
# Room -> the rooms it may import, besides itself and FREE. The longest matching name is a file's room.
ROOMS: dict[str, set[str]] = {
    "ops": set(),
    **{room: set() for room in sorted(FREE)},
    "pipeline.contracts": set(),
    "pipeline.latents": {"pipeline.contracts"},
    "pipeline.perceptual": set(),
    "pipeline.dinov2": set(),
    "pipeline.config": set(),
    "pipeline.storage": BASE,
    "pipeline.importing": set(),
    "pipeline.images": {"pipeline.contracts", "pipeline.storage"},
    "pipeline.board": {"pipeline.images", "pipeline.storage"},
    "pipeline.data.archives": set(),
    "pipeline.data.stores": {"pipeline.storage"},
    "pipeline.data.shards": BASE
    | {"pipeline.data.archives", "pipeline.data.stores", "pipeline.images", "pipeline.storage"},
    "pipeline.data.sources": {
        "pipeline.contracts",
        "pipeline.data.archives",
        "pipeline.images",
        "pipeline.storage",
    },
    "pipeline.data.preparing": {
        "pipeline.contracts",
        "pipeline.data.shards",
        "pipeline.data.sources",
        "pipeline.images",
        "pipeline.storage",
    },
    "pipeline.data.encoding": {
        "pipeline.contracts",
        "pipeline.data.shards",
        "pipeline.images",
        "pipeline.storage",
    },
    "pipeline.data.streaming": BASE | {"pipeline.data.shards", "pipeline.data.stores"},
    "pipeline.engines": BASE,
    "pipeline.losses": {"pipeline.contracts", "ops"},
    "pipeline.models.layers": {"pipeline.contracts", "ops"},
    "pipeline.models": BASE | FROZEN | {"pipeline.losses", "pipeline.models.layers", "ops"},
    "pipeline.training": BASE | SHOWN | DATA | {"pipeline.engines", "pipeline.storage"},
    "pipeline.evaluation": BASE | SHOWN | DATA | FROZEN | {"pipeline.storage"},
    "pipeline.generation": BASE | SHOWN | DATA | {"pipeline.storage", "pipeline.evaluation"},
    "pipeline.translation": BASE | {"pipeline.data.sources", "pipeline.images", "pipeline.storage"},
    "pipeline.exploration": BASE
    | SHOWN
    | DATA
    | {"pipeline.storage", "pipeline.evaluation", "pipeline.generation"},
    "launch.options": {"pipeline"},
    "launch.failures": {"pipeline"},
    "launch.cluster": {"pipeline", "launch.failures"},
    "launch.doctor": {"pipeline", "launch.cluster"},
    "launch.assembly": {"ops", "pipeline", *LAUNCHED},
    "launch.beginning": {"pipeline", *LAUNCHED, "launch.assembly"},
    "launch.commands": {
        *("ops", "pipeline", *LAUNCHED, "launch.assembly", "launch.beginning", "launch.doctor"),
    },
    "launch": {"pipeline"},
    "tools": {"ops", "pipeline", "launch"},
}
# Rooms whose third-party imports are counted.
LIBRARIES: dict[str, set[str]] = {
    "ops": {"torch"},
    "pipeline.errors": set(),
    "pipeline.randomness": {"numpy", "torch"},
    "pipeline.float32": {"torch"},
    "pipeline.kernels": {"torch"},
    "pipeline.reading": {"pydantic"},
    "pipeline.words": {"rich"},
    "pipeline.versions": set(),
    "pipeline.contracts": {"torch"},
    "pipeline.latents": {"torch"},
    "pipeline.perceptual": {"torch"},
    "pipeline.dinov2": {"torch"},
    "pipeline.config": {"pydantic", "pydantic_core", "yaml"},
    "pipeline.importing": {"safetensors", "torch"},
}
# Libraries that only these rooms know. Tools compare with other programs.
CONFINED = {
    "deepspeed": ("pipeline.engines",),
    "accelerate": ("pipeline.engines",),
    "submitit": ("launch",),
    "torch_fidelity": ("pipeline.evaluation",),
    "webdataset": ("pipeline.data", "tools"),
    "fsspec": ("pipeline.data",),
}
# Seconds, which every command would take.
SLOW = ("accelerate", "deepspeed", "torch._dynamo", "torch._inductor", "torch.compiler")
KNOW_FAMILIES = ("pipeline.config.families", "pipeline.models")
KNOW_METRICS = ("pipeline.evaluation.metrics", "pipeline.evaluation.arithmetic")
LONGEST_FUNCTION, LONGEST_FILE, MEDIAN_FUNCTION = 80, 350, 12


def within(module: str, room: str) -> bool:
    return module == room or module.startswith(f"{room}.")


def room_of(module: str) -> str | None:
    return max((room for room in ROOMS if within(module, room)), key=len, default=None)


def imports(source: Source) -> Iterator[str]:
    """Dotted names of everything that is imported anywhere in the file, functions included."""
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{source.module}: relative import"
            # `from pipeline import contracts` names a module by its second half.
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                yield whole if node.module == "pipeline" or whole in ROOMS else str(node.module)


def import_faults(source: Source) -> list[str]:
    room = room_of(source.module)
    if source.module in ("pipeline", "pipeline.data") and not list(imports(source)):
        return []
    if room is None:
        return [f"{source.module}: in no room of the plan"]
    return [fault for name in imports(source) if (fault := _import_fault(source.module, room, name))]


def _import_fault(module: str, room: str, name: str) -> str | None:
    top = name.split(".")[0]
    if top in ("ops", "pipeline", "launch", "tools", "tests"):
        target = room_of(name)
        allowed = ROOMS[room] | FREE | {room}
        fine = any(within(name, known) for known in allowed) and (
            target is None or target in allowed or room.startswith(("launch", "tools"))
        )
        return None if fine else f"{module} imports {name}; {room} may import {', '.join(sorted(allowed))}"
    if top in CONFINED and not any(within(module, place) for place in CONFINED[top]):
        return f"{module} imports {top}; only {' and '.join(CONFINED[top])} may"
    libraries = LIBRARIES.get(room)
    if libraries is not None and top not in libraries | sys.stdlib_module_names:
        return f"{module} imports {top}; {room} may import {', '.join(sorted(libraries)) or 'nothing'}"
    return None


def family_names() -> set[str]:
    union = typing.get_args(RunConfig.model_fields["family"].annotation) or (
        RunConfig.model_fields["family"].annotation,
    )
    return {tag for model in union for tag in typing.get_args(model.model_fields["name"].annotation)}


def family_faults(source: Source, names: set[str]) -> list[str]:
    return literal_faults(source, names, KNOW_FAMILIES)


def metric_faults(source: Source) -> list[str]:
    return literal_faults(source, set(METRICS), KNOW_METRICS)


def literal_faults(source: Source, names: set[str], rooms: tuple[str, ...]) -> list[str]:
    """Where a name, or a list of them as options take it, is written outside the rooms that know it."""
    if any(within(source.module, room) for room in rooms):
        return []
    return [
        f"{source.module} line {node.lineno}: the literal {node.value!r}"
        for node in ast.walk(source.tree)
        if isinstance(node, ast.Constant)
        and isinstance(node.value, str)
        and set(node.value.lower().split(",")) <= names
    ]


def functions(source: Source) -> Iterator[tuple[str, int]]:
    """Name and length in lines of each function."""
    for node in ast.walk(source.tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield f"{source.module}.{node.name}", (node.end_lineno or node.lineno) - node.lineno + 1


def size_faults(source: Source) -> list[str]:
    lines = source.text.count("\n")
    faults = [f"{source.module}: {lines} lines"] if lines > LONGEST_FILE else []
    return faults + [f"{name}: {n} lines" for name, n in functions(source) if n > LONGEST_FUNCTION]


def test_rooms_import_only_what_the_plan_allows() -> None:
    assert [fault for source in sources(*PRODUCT) for fault in import_faults(source)] == []


def test_family_names_stay_with_the_families() -> None:
    names = family_names()
    assert names
    assert [fault for source in sources(*PRODUCT) for fault in family_faults(source, names)] == []


def test_metric_names_stay_with_the_metrics() -> None:
    assert [fault for source in sources(*PRODUCT) for fault in metric_faults(source)] == []


def test_files_and_functions_stay_short() -> None:
    assert [fault for source in sources(*PRODUCT, "tests") for fault in size_faults(source)] == []


def test_functions_are_short_on_the_whole() -> None:
    lengths = [length for source in sources(*PRODUCT) for _, length in functions(source)]
    assert statistics.median(lengths) <= MEDIAN_FUNCTION


def loading_faults(source: Source) -> list[str]:
    """What takes long to load and is loaded with the file, be it by a decorator."""
    loaded = {name for name in imports(Source(source.module, _outside_functions(source))) if _is_slow(name)}
    decorators = [
        ast.unparse(decorator)
        for node in ast.walk(source.tree)
        if isinstance(node, ast.FunctionDef | ast.ClassDef)
        for decorator in node.decorator_list
    ]
    return [f"{source.module}: {name}" for name in [*loaded, *filter(_is_slow, decorators)]]


def _outside_functions(source: Source) -> str:
    statements = [node for node in source.tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
    return "\n".join(map(ast.unparse, statements))


def _is_slow(name: str) -> bool:
    return any(within(name, slow) for slow in SLOW)


def test_what_takes_long_to_load_is_loaded_where_it_is_used() -> None:
    assert [f for source in sources("ops", "pipeline", "launch") for f in loading_faults(source)] == []


def test_no_folder_for_leftovers() -> None:
    names = {part for source in sources(*PRODUCT) for part in source.module.split(".")}
    assert names.isdisjoint({"utils", "util", "helpers", "common", "misc", "core"})


VIOLATIONS = {
    "training never models": ("pipeline.training.x", "from pipeline.models.registry import build_family"),
    "training never models, in a function": ("pipeline.training.x", "def f():\n    import pipeline.models"),
    "training never models, the other way to write it": (
        "pipeline.training.x",
        "from pipeline import models",
    ),
    "training never ops": ("pipeline.training.x", "import ops"),
    "evaluation never training": ("pipeline.evaluation.x", "from pipeline.training.ema import Average"),
    "generation never training": ("pipeline.generation.x", "import pipeline.training.ema"),
    "generation never models": ("pipeline.generation.x", "import pipeline.models.stylegan2.networks"),
    "layers never the rest of models": ("pipeline.models.layers.x", "from pipeline.models import registry"),
    "ops know torch only": ("ops.x", "import numpy"),
    "ops know nobody": ("ops.x", "from pipeline.contracts import Batch"),
    "config without torch": ("pipeline.config.x", "import torch"),
    "config knows nobody": ("pipeline.config.x", "from pipeline.data.shards.index import ShardIndex"),
    "contracts know torch only": ("pipeline.contracts", "from pydantic import BaseModel"),
    "nobody imports launch": ("pipeline.training.x", "from launch.main import main"),
    "launch imports no tools": ("launch.x", "import tools.bench.loader"),
    "assembly never commands": ("launch.assembly.x", "from launch.commands.train import train"),
    "assembly never main": ("launch.assembly.x", "def f():\n    import launch.main"),
    "cluster never assembly": ("launch.cluster.x", "from launch.assembly import training"),
    "cluster never options": ("launch.cluster.x", "import launch.options.train"),
    "options never assembly": ("launch.options.x", "from launch.assembly.trainer import assemble"),
    "commands never main": ("launch.commands.x", "from launch.main import app"),
    "product imports no tests": ("tools.x", "import tests.test_layers"),
    "deepspeed in engines only": ("pipeline.training.x", "import deepspeed"),
    "accelerate in engines only": ("launch.x", "from accelerate import PartialState"),
    "submitit in launch only": ("pipeline.engines.x", "import submitit"),
    "torch_fidelity in evaluation only": ("tools.x", "import torch_fidelity.utils"),
    "fsspec in data only": ("pipeline.storage.x", "import fsspec"),
    "stores know no shards": ("pipeline.data.stores.x", "import pipeline.data.shards.index"),
    "webdataset in data only": ("pipeline.storage.x", "from webdataset.writer import TarWriter"),
    "shards know no sources": ("pipeline.data.shards.x", "import pipeline.data.sources.source"),
    "sources know no shards": ("pipeline.data.sources.x", "import pipeline.data.shards.index"),
    "streaming makes no data sets": ("pipeline.data.streaming.x", "import pipeline.data.preparing.pyramid"),
    "training makes no data sets": ("pipeline.training.x", "import pipeline.data.preparing.prepare"),
    "no new rooms in data": ("pipeline.data.x", "import os"),
    "no new rooms": ("pipeline.leftovers", "import os"),
}


@pytest.mark.parametrize("name", VIOLATIONS)
def test_the_import_rule_catches(name: str) -> None:
    module, text = VIOLATIONS[name]
    assert len(import_faults(Source(module, text))) == 1


@pytest.mark.parametrize(
    ("module", "text"),
    [
        ("pipeline.training.x", "import torch, os\nfrom pipeline.engines.select import select_engine"),
        ("pipeline.data.shards.x", "from pipeline import contracts\nfrom pipeline.errors import UserError"),
        ("pipeline.models.x", "from pipeline.models.layers import dense\nimport ops.reference"),
        ("pipeline.engines.x", "import accelerate, deepspeed"),
        ("launch.assembly.x", "import submitit, ops\nfrom pipeline.models.registry import build_family"),
        ("launch.commands.x", "from launch.assembly.trainer import assemble\nimport launch.cluster.srun"),
        ("launch.main", "from launch.commands.train import train\nimport launch.failures"),
        ("tools.x", "from launch.main import main\nfrom pipeline.training.ema import Average"),
    ],
)
def test_the_import_rule_lets_pass(module: str, text: str) -> None:
    assert import_faults(Source(module, text)) == []


def test_the_other_rules_catch() -> None:
    names = family_names()
    name = next(iter(names))
    branch = f"def f(n):\n    return n == {name!r}"
    assert family_faults(Source("pipeline.training.x", branch), names)
    assert not family_faults(Source("pipeline.models.x", branch), names)
    for literal in ("fid", "swd,msssim"):
        asked = f"def f(n):\n    return n == {literal!r}"
        assert len(metric_faults(Source("pipeline.evaluation.job", asked))) == 1
        assert not metric_faults(Source("pipeline.evaluation.metrics.x", asked))
    long = "def f():\n" + "    pass\n" * LONGEST_FUNCTION
    assert size_faults(Source("m", long)) == [f"m.f: {LONGEST_FUNCTION + 1} lines"]
    assert size_faults(Source("m", "\n" * (LONGEST_FILE + 1)))
    for text in ("from accelerate import PartialState", "@torch.compiler.disable\ndef f():\n    pass"):
        assert len(loading_faults(Source("m", text))) == 1
    assert not loading_faults(Source("m", "def f():\n    from accelerate import PartialState"))


def test_the_plan_for_newcomers_shows_every_room():
    text = (ROOT / "pipeline/README.md").read_text()
    shown = set(re.findall(r"^\| `(\w+)/`", text, re.MULTILINE))
    assert shown == {path.parent.name for path in (ROOT / "pipeline").glob("*/__init__.py")}
