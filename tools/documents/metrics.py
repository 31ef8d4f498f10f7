"""The table of metrics, generated from their registry."""

from __future__ import annotations

from pipeline.evaluation.metrics.registry import METRICS

MARK = "<!-- the table of metrics -->"
"""Where a page has the table."""


def table() -> str:
    """Returns a row per metric: what it is, which values are better, what it needs, how many fakes it
    uses."""
    rows = [
        f"| `{name}` | {metric.title} | {metric.shown.better} | {metric.wants} | {metric.standard:,} |"
        for name, metric in METRICS.items()
    ]
    head = "| metric | what it is | which values | needs | generated images, unless `--count` says |"
    return "\n".join([head, "|---|---|---|---|---|", *rows])
