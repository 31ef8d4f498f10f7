"""OUT/report: a page about a prepared data set, with its pictures beside it and nothing from elsewhere."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

from pipeline.contracts import COLOURS
from pipeline.words import printable

PAGE = "index.html"
_SHOWN = 200  # files that were left out
_WIDTH = 360  # pixels of the longest bar
_STYLE = (
    "body{font:15px/1.5 system-ui,sans-serif;max-width:72rem;margin:2rem auto;padding:0 1rem;color:#222}"
    "table{border-collapse:collapse}td,th{padding:.15rem .8rem .15rem 0;text-align:left;vertical-align:top}"
    "img{max-width:100%;image-rendering:auto}h2{margin-top:2rem}rect{fill:#4477aa}code{white-space:pre-wrap}"
)
_POLICY = "default-src 'none'; img-src 'self'; style-src 'unsafe-inline'"


def page_of(
    card: Mapping[str, Any],
    sheets: Mapping[str, str],
    pairs: str | None,
    copies: Sequence[Sequence[str]],
    left_out: Sequence[tuple[str, str]],
) -> str:
    """The page. sheets: file of a sheet of samples, by title. pairs: file of pictures before and after.
    copies: names of pictures that are the same. left_out: name and reason of files that are not in it."""
    title = f"{card['count']:,} pictures of {_text(card['source'])}"
    image = card["image"]
    facts = [
        ("images", f"{image['width']}x{image['height']}, {COLOURS[image['channels']]}"),
        ("shards", f"{card['shards']:,}, {card['bytes'] / 2**20:,.1f} MiB"),
        ("held out", f"{card['held_out']['count']:,}" if card["held_out"] else "none"),
        ("enlarged", f"{card['enlarged']:,}"),
        ("copies of an earlier picture", f"{card['copies']['pictures']:,}"),
        ("left out", f"{card['left_out']['count']:,}"),
        *((name.replace("_", " "), value) for name, value in card["made"].items() if value is not None),
        ("digest", card["index_digest"]),
        ("command", card["command"] or "not known"),
    ]
    parts = [
        f"<h1>{title}</h1>",
        _table((name, _text(value)) for name, value in facts),
        *(_bars(words, card[key]) for key, words in _CHARTS.items() if card[key]),
        *_picture("Before and after", pairs),
        "<h2>Samples, drawn at random</h2>",
        *(f"<h3>{_text(name)}</h3><img src='{escape(file)}' alt=''>" for name, file in sheets.items()),
        *_copies(copies, card["copies"]["groups"]),
        *_left_out(left_out, card["left_out"]),
    ]
    return (
        "<!doctype html><html lang='en'><head><meta charset='utf-8'>"
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
        f"<title>{title}</title><style>{_STYLE}</style></head><body>{''.join(parts)}</body></html>\n"
    )


_CHARTS = {
    "classes": "Classes",
    "shorter_sides": "Shorter side before resizing, from as many pixels on",
    "shapes": "Shapes",
    "modes": "Modes (L is grey)",
    "suffixes": "Kinds of files, by their names",
}


def _text(value: object) -> str:
    return escape(printable(str(value)))


def _table(rows: Iterable[tuple[str, str]]) -> str:
    cells = "".join(f"<tr><th>{_text(name)}</th><td>{value}</td></tr>" for name, value in rows)
    return f"<table>{cells}</table>"


def _bars(title: str, counts: Mapping[str, int]) -> str:
    most = max(counts.values(), default=0) or 1
    rows = (
        (
            name or "no suffix",
            f"<svg width='{_WIDTH}' height='12' role='img'>"
            f"<rect width='{_WIDTH * count / most:.1f}' height='12'/></svg> {count:,}",
        )
        for name, count in counts.items()
    )
    return f"<h2>{title}</h2>{_table(rows)}"


def _picture(title: str, file: str | None) -> list[str]:
    return [f"<h2>{title}</h2><img src='{escape(file)}' alt=''>"] if file else []


def _copies(groups: Sequence[Sequence[str]], count: int) -> list[str]:
    if not groups:
        return []
    rows = "".join(f"<li>{' = '.join(map(_text, names))}</li>" for names in groups)
    return [f"<h2>Copies: {count:,} pictures that occur more than once</h2><ul>{rows}</ul>"]


def _left_out(rows: Sequence[tuple[str, str]], counts: Mapping[str, Any]) -> list[str]:
    if not rows:
        return []
    more = "" if len(rows) <= _SHOWN else f"<p>and {len(rows) - _SHOWN:,} more</p>"
    return [
        _bars(f"Left out: {counts['count']:,}, all listed in ../left-out.csv", counts["reasons"]),
        _table((name, _text(reason)) for name, reason in rows[:_SHOWN]),
        more,
    ]
