"""Pages that the program writes: nothing is left out, nothing is made up."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from pydantic import BaseModel, Field
from typer.main import get_command

from launch.main import app
from pipeline.config.cluster import ClusterConfig
from pipeline.config.load import MAY_CHANGE
from pipeline.config.run import RunConfig
from pipeline.config.units import Count
from pipeline.data.sources.opening import SOURCES
from pipeline.evaluation.metrics.registry import METRICS
from pipeline.models.registry import FAMILIES
from tests.documents.reading import ROOT
from tools.documents import commands, gallery, included, metrics, programs, settings, sources

PAGES = settings.pages()


def keys(schema: dict[str, Any], node: dict[str, Any], prefix: str) -> Iterator[str]:
    """Every key below a node of a JSON schema, which pydantic makes by itself."""
    for name, part in node.get("properties", {}).items():
        named = part.get("additionalProperties", {})
        if isinstance(named, dict) and "$ref" in named:
            part, name = named, f"{name}.NAME"
        parts = [part, *part.get("anyOf", []), *part.get("oneOf", [])]
        below = [schema["$defs"][p["$ref"].rsplit("/", 1)[1]] for p in parts if "$ref" in p]
        if not below:
            yield f"{prefix}{name}"
        for inner in below:
            yield from keys(schema, inner, f"{prefix}{name}.")


def shown(page: str) -> set[str]:
    return set(re.findall(r"^### `([\w.]+)`", PAGES[page], re.MULTILINE))


def test_every_key_of_the_schema_is_on_a_page_and_no_other() -> None:
    schema = RunConfig.model_json_schema()
    wanted = set(keys(schema, schema, "")) - {"family.name"}
    pages = [page for page in PAGES if not page.endswith("cluster.md")]
    assert set.union(*map(shown, pages)) == wanted
    cluster = ClusterConfig.model_json_schema()
    assert shown("reference/settings/cluster.md") == set(keys(cluster, cluster, ""))


@pytest.mark.parametrize("page", PAGES)
def test_every_key_has_a_meaning_and_a_default(page: str) -> None:
    entries = re.split(r"^### ", PAGES[page], flags=re.MULTILINE)[1:]
    assert entries
    for entry in entries:
        _, kind, meaning = [part for part in entry.split("\n\n") if part.strip()][:3]
        assert " · default " in kind, entry
        assert re.search(r"\w+", meaning), entry
        assert "<class" not in kind, entry
        assert "Annotated" not in kind, entry


def test_what_may_change_is_marked() -> None:
    free = {key for page in PAGES for key in re.findall(r"`([\w.]+)` \{ #\S+ \}\n\n.*\*free\*", PAGES[page])}
    assert free
    assert all(any(key == name or key.startswith(f"{name}.") for name in MAY_CHANGE) for key in free)
    for name in MAY_CHANGE:
        assert any(key == name or key.startswith(f"{name}.") for key in free), name


class _Example(BaseModel, use_attribute_docstrings=True):
    size: Count = 25_000_000
    """Of what."""
    share: float | None = Field(default=0.5, ge=0, lt=1)
    """How much."""
    sides: tuple[int, ...] = (1, 2)
    """In
    order."""


def test_kinds_and_defaults_read_as_a_configuration_has_them() -> None:
    size, share, sides = settings.settings(_Example, "x.")
    assert (size.allowed, size.default) == ("a count (`200k`, `25M`) at least 0", "`25M`")
    assert (share.allowed, share.default) == ("a number at least 0 and below 1 or `null`", "`0.5`")
    assert (sides.key, sides.default, sides.meaning) == ("x.sides", "`[1, 2]`", "In order.")


def test_every_command_and_option_is_shown() -> None:
    page = commands.page()
    known = list(commands.walk(get_command(app)))
    assert len(known) > 15
    for words, command, context in known:
        section = re.split(r"^#+ `", page, flags=re.MULTILINE)
        own = [part for part in section if part.startswith(f"{' '.join(words)}`")]
        assert len(own) == 1, words
        rows = [row for row in own[0].splitlines() if row.startswith("| ")]
        for parameter in command.get_params(context):
            for name in parameter.opts:
                wanted = (parameter.metavar or name).upper() if not name.startswith("-") else name
                if not getattr(parameter, "hidden", False) and name not in ("args", "-h"):
                    assert any(wanted in row for row in rows), (words, name)
    assert "x>=" not in page
    assert "1<=" not in page


def test_every_tool_that_runs_is_shown() -> None:
    page = programs.page()
    names = {name for _, name, _ in programs.programs()}
    assert not any("documents" in name for name in names)
    assert {"tools.slurm_sandbox", "tools.bench.ops", "tools.gpu_check", "tools.torture.kill_run"} <= names
    for path in (ROOT / "tools/torture").glob("kill_*.py"):
        assert f"`tools.torture.{path.stem}`" in page
    assert all(text for _, _, text in programs.programs())


def test_the_table_of_sources_is_that_of_the_program() -> None:
    rows = [row.split("|")[1].strip(" `") for row in sources.table().splitlines()[2:]]
    assert sorted(rows) == sorted(kind.words for kind in SOURCES)
    assert sources.MARK in (ROOT / "docs/pages/data.md").read_text(encoding="utf-8")


def test_the_table_of_metrics_is_the_registry() -> None:
    rows = metrics.table().splitlines()[2:]
    assert [row.split("`")[1] for row in rows] == list(METRICS)
    for row, metric in zip(rows, METRICS.values(), strict=True):
        assert metric.title in row
        assert metric.shown.better in row
    page = (ROOT / "docs/pages/evaluation.md").read_text()
    assert metrics.MARK in page
    protocol = page.split("## Protocol")[1].split("## Weights")[0]
    assert [name for name in METRICS if f"`{name}`" not in protocol] == []


@pytest.mark.parametrize("name", FAMILIES)
def test_the_gallery_shows_what_each_family_draws_and_the_commands(name: str) -> None:
    picture = gallery.picture_of(name)
    assert picture is not None, "a page of a family has a picture, and words below it"
    assert (ROOT / "docs/pages" / picture[1]).is_file()
    assert gallery.for_a_cpu(name), "no configuration of data that the program has"
    text = gallery.section(name)
    assert f"({picture[1]})" in text
    assert re.search(r"^hrgan prepare demo:\w+ .*^hrgan train configs/[\w-]+\.yaml ", text, re.DOTALL | re.M)


def test_links_of_an_included_page_are_from_its_place() -> None:
    text = "[a](docs/pages/data.md#out-again) ![b](docs/pages/pictures/x.png) [c](LICENSE) `[d](e)` [f](#g)"
    made = included.relinked(text, "README.md", "index.md")
    assert made == "[a](data.md#out-again) ![b](pictures/x.png) c `[d](e)` [f](#g)"
    assert included.relinked("[a](../../README.md)", "pipeline/x/Y.md", "deep/page.md") == "[a](../index.md)"


def test_the_hook_sets_equations_as_mathml() -> None:
    from tools.documents.hook import on_page_content

    made = on_page_content(
        r'<span class="arithmatex">\(a &lt; b\)</span><div class="arithmatex">\[x^2\]</div>'
    )
    assert made.count("<math") == 2
    assert "arithmatex" not in made
    assert 'display="block"' in made
