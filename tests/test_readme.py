"""What README, CONTRIBUTING and the pages of the documentation say is there, is there."""

from __future__ import annotations

import re
import shlex
import subprocess
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from launch.main import app
from pipeline.config.load import load_config
from pipeline.config.shipped import locate
from tests.documents.reading import PAGES, ROOT, WRITTEN, anchors, inline, lines, links, name_of
from tools.documents import commands, gallery, included, programs, settings

README = (ROOT / "README.md").read_text(encoding="utf-8")
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
TEXTS = {name_of(path): path.read_text(encoding="utf-8") for path in WRITTEN}
GENERATED = {
    "reference/commands.md": commands.page,
    "reference/tools.md": programs.page,
    "gallery.md": gallery.page,
    **{page: (lambda page=page: settings.pages()[page]) for page in settings.pages()},
    **{page: (lambda page=page: included.read(page)) for page in included.INCLUDED},
}


def shell_lines() -> list[str]:
    """Every command line of the documents and of the Makefile."""
    recipes = [line.strip().removeprefix("$(BIN)/") for line in MAKEFILE.splitlines()]
    shown = [line for text in TEXTS.values() for line in lines(text)]
    return sorted({*shown, *(line.replace("$(QUICK)", "out/quickstart") for line in recipes)})


def hrgan_lines() -> list[str]:
    """Those that run hrgan, by itself or below srun; placeholders that stand for more are left out."""
    found = (re.sub(r"^srun .*? hrgan ", "hrgan ", line.split(" > ")[0]) for line in shell_lines())
    return [
        line for line in found if line.startswith("hrgan ") and "..." not in line and "COMMAND" not in line
    ]


def parsed(words: Sequence[str]) -> Any:
    """The innermost context that the program itself makes of a command line, up to where it would run."""
    command, rest, context = get_command(app), list(words), None
    name: str | None = "hrgan"
    while True:
        context = command.make_context(name, list(rest), parent=context)
        if not hasattr(command, "resolve_command") or not context._protected_args + context.args:
            return context
        name, command, rest = command.resolve_command(context, context._protected_args + context.args)
        assert command is not None


@pytest.mark.parametrize("line", hrgan_lines())
def test_every_command_line_is_understood(line: str) -> None:
    context = parsed(shlex.split(line, comments=True)[1:])
    assert context.info_name != "hrgan"


def test_a_wrong_command_line_is_not_understood() -> None:
    for line in (
        "evaluate runs/x --dat shards",
        "submit train c.yaml --clutser f",
        "explore r nothing o.png",
    ):
        with pytest.raises(Exception, match=r"(?i)no such|unknown"):
            parsed(line.split())


@pytest.mark.parametrize(
    "line", [line for line in hrgan_lines() if re.match(r"hrgan (submit )?train ", line)]
)
def test_every_override_is_allowed(line: str) -> None:
    words = shlex.split(line, comments=True)
    config = words[words.index("train") + 1]
    if config == "mine.yaml":  # a copy, as the line before makes it
        config = "stylegan2-256"
    given = [
        word for word in words if re.match(r"[a-z_.]+=", word) and words[words.index(word) - 1] != "--sweep"
    ]
    load_config(locate(ROOT / config if "/" in config else Path(config)), given)


def options() -> set[str]:
    """Every option of hrgan's commands, with both words of a switch."""
    parameters = (p for _, command, _ in commands.walk(get_command(app)) for p in command.params)
    return {name for p in parameters for name in (*p.opts, *p.secondary_opts)} | {"--help"}


def test_every_option_exists() -> None:
    """Jobs hand on what they do not know, so a command line that is understood is not enough."""
    known = options()
    tools = {
        name
        for path in (ROOT / "tools").rglob("*.py")
        for name in re.findall(r'"(--[\w-]+)"', path.read_text())
    }
    slurm = {"--requeue", "--signal", "--gpus-per-task", "--kill-on-bad-exit"}
    built = {"--cpu", "--cuda", "--arch", "--report"}  # of python -m ops.build
    wrong = [(line, word) for line in hrgan_lines() for word in _options_in(line) if word not in known]
    for page, text in TEXTS.items():
        for code in inline(text):
            allowed = known if code.startswith("hrgan ") else known | tools | slurm | built
            if code.startswith(("hrgan ", "--", "python -m", "srun ")):
                wrong += [(page, word) for word in _options_in(code) if word not in allowed]
    assert wrong == []


def _options_in(text: str) -> list[str]:
    return re.findall(r"(?<!\S)--[a-z][\w-]*", text)


def test_every_key_in_prose_exists() -> None:
    sections = "length|data|batch|start|family|engine|ops|checkpoints|snapshots|stop|report"
    known = {setting.key for setting in _all_settings()}
    known |= {key.rpartition(".")[0] for key in known}
    missing = []
    for page, text in TEXTS.items():
        for code in inline(text):
            for key in re.findall(
                rf"(?<![\w./-])((?:{sections})\.[\w.]*[a-z0-9*])(?:=\S*)?(?![\w./(-])", code
            ):
                wanted = key.removesuffix(".*")
                if wanted not in known and not code.startswith(("pipeline", "python", "tests", "tools")):
                    missing.append((page, key))
    # `ops.warp_grid` and `data.json` are no keys: an operation's and a file's name.
    assert [found for found in missing if found[1] not in ("ops.build", "data.json")] == []


def _all_settings() -> list[settings.Setting]:
    families = [s for schema in settings.families().values() for s in settings.settings(schema, "family.")]
    return [*settings.settings(settings.RunConfig), *families]


def test_every_file_that_is_named_exists() -> None:
    missing = []
    for page, text in TEXTS.items():
        for code in inline(text):
            if re.fullmatch(r"(?:pipeline|ops|launch|tools|tests|configs|docs|\.ci)/[\w./*<>-]+", code):
                pattern = re.sub(r"<\w+>", "*", code)
                missing += [(page, code)] if not list(ROOT.glob(pattern.rstrip("/"))) else []
    # A page says what a user will name so.
    assert missing == []


def test_every_module_that_is_run_exists() -> None:
    runs = {name for _, name, _ in programs.programs()} | {"ops.build", "launch.cluster.requeue", "pytest"}
    for page, text in TEXTS.items():
        for module in re.findall(r"python -m ([\w.]+)", text):
            assert module in runs or module == "tools.NAME", f"{page}: {module}"


def test_every_config_is_on_the_page_of_its_family() -> None:
    listed = {
        name
        for page, text in TEXTS.items()
        if page.startswith("docs/pages/families/")
        for name in re.findall(r"configs/([\w.-]+\.yaml)", text)
    }
    there = {path.name for path in (ROOT / "configs").glob("*.yaml")}
    assert listed == there - {"base.yaml"}


@pytest.mark.parametrize("page", TEXTS)
def test_links_lead_somewhere(page: str) -> None:
    for picture, words, target, anchor in links(TEXTS[page]):
        if re.match(r"[a-z]+:", target):
            assert target.startswith("https://arxiv.org/abs/"), target
            continue
        assert words.strip(), f"{page}: {target} has no text"
        there = ((ROOT / page).parent / target).resolve() if target else ROOT / page
        text = _text_of(there)
        assert text is not None, f"{page}: {target}"
        assert picture or not anchor or anchor in anchors(text), f"{page}: {target}#{anchor}"


def _text_of(path: Path) -> str | None:
    if path.is_file():
        return path.read_text(encoding="utf-8") if path.suffix == ".md" else ""
    page = str(path.relative_to(PAGES)) if path.is_relative_to(PAGES) else ""
    return GENERATED[page]() if page in GENERATED else None


def test_the_readme_is_short_and_its_picture_small() -> None:
    assert README.count("\n") <= 150
    pictures = [ROOT / target for picture, _, target, _ in links(README) if picture]
    assert pictures
    assert all(path.stat().st_size < 200_000 for path in pictures)


def test_make_targets_exist() -> None:
    targets = set(re.findall(r"^([\w-]+):", MAKEFILE, re.MULTILINE))
    for text in TEXTS.values():
        for target in re.findall(r"`make ([\w-]+)|^make ([\w-]+)", text, re.MULTILINE):
            assert "".join(target) in targets
    assert targets >= {"quickstart", "setup", "test", "check", "bench", "clean", "docs", "docs-serve"}


def test_make_understands_every_target() -> None:
    done = subprocess.run(
        ["make", "-n", "help", "quickstart", "test", "check", "docs", "docs-serve", "bench", "clean"],
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_extras_exist() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = set(project["optional-dependencies"])
    assert {
        "eval",
        "mutation",
        "demo",
        "dev",
        "deepspeed",
        "docs",
        "slurm",
        "heic",
        "decoders",
        "nvcc",
        "sources",
        "cloud",
    } == (extras)
    for text in TEXTS.values():
        for named in re.findall(r"pip install -e '\.\[([\w,]+)\]'", text):
            assert set(named.split(",")) <= extras
    assert project["requires-python"] == ">=3.11"


def test_every_requirement_is_pinned() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = project["dependencies"] + [
        r for extra in project["optional-dependencies"].values() for r in extra
    ]
    names = {_plain(re.split(r"[<>=\[ ]", requirement)[0]) for requirement in wanted}
    pins = (ROOT / "tools/constraints.txt").read_text().splitlines()
    pinned = {_plain(line.split("==")[0]) for line in pins if line and not line.startswith("#")}
    assert names <= pinned
    assert all("==" in line for line in pins if line and not line.startswith("#"))


def _plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
