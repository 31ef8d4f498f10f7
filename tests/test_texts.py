"""What no text of the product may hold: promises instead of work, and traces of where it was made."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.product import PRODUCT, ROOT

_SITES = r"(?:arxiv\.org|github\.com|pytorch\.org|keepachangelog\.com|semver\.org|fbaipublicfiles\.com)"
_HOSTS = rf"[\w.]*\b{_SITES}|localhost|127\.0\.0\.1|host\b|example\."
FORBIDDEN = {
    r"\b(?:TO" r"DO|FIX" r"ME|XX" r"X)\b": "unfinished",
    r"NotImplemented" r"Error": "a stub",
    r"(?<![\w.])/(?:work|root|home)/": "a path of some machine",
    r"\bissues? +#?\d": "a number that means nothing to a reader",
    r"\b(?:coding|this|another|earlier) +session": "how it was made",
    rf"https?://(?!{_HOSTS})[\w.-]+": "an address that is not on the list",
}


def text_faults(name: str, text: str) -> list[str]:
    return [
        f"{name} line {text.count(chr(10), 0, match.start()) + 1}: {match.group()!r} ({why})"
        for pattern, why in FORBIDDEN.items()
        for match in re.finditer(pattern, text)
    ]


def texts() -> Iterator[Path]:
    """Every text file of the product, tests included."""
    patterns = ("*.py", "*.yaml", "*.md", "*.toml", "*.txt", "*.sh", "*.cu", "*.cpp", "*.h", "*.css")
    for folder in (*PRODUCT, "configs", "docs", "tests"):
        for pattern in patterns:
            yield from (ROOT / folder).rglob(pattern)
    for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "Makefile", "pyproject.toml", ".ci/run"):
        yield ROOT / name


def test_text_is_finished_and_says_nothing_of_its_making() -> None:
    faults = [
        fault
        for path in texts()
        if path != Path(__file__) and path.is_file()
        for fault in text_faults(str(path.relative_to(ROOT)), path.read_text(encoding="utf-8"))
    ]
    assert faults == []


@pytest.mark.parametrize(
    "text",
    [
        "# TODO later",
        "raise NotImplementedError",
        "see /root/.cache/x",
        "as issue 2 says",
        "in this session we",
        "pip install -i https://mirror.example.internal/simple",
    ],
)
def test_the_text_rule_catches(text: str) -> None:
    assert len(text_faults("x", f"first line\n{text}\n")) == 1


def test_the_text_rule_lets_pass() -> None:
    assert (
        text_faults("x", "an issue of taste, https://arxiv.org/abs/1912.04958, out/home/x, a tmux session")
        == []
    )
