"""What a run shows in TensorBoard: texts, layout, curves, and all of it once however often it starts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from tensorboard.backend.event_processing.plugin_event_accumulator import EventAccumulator
from tensorboard.plugins.custom_scalar import layout_pb2

from pipeline.data.card import data_card
from pipeline.data.index import Shard, ShardIndex
from pipeline.training.report import Report, curves_layout

LAYOUT = "custom_scalars__config__"
FIGURES = {"loss/generator": 1.0, "penalty/r1": 0.1, "gradient_norm/r1": 2.0}


def report(run: Path, start: int) -> Report:
    return Report(run, total=100, start=start, device=torch.device("cpu"), tensorboard=True)


def board(run: Path) -> EventAccumulator:
    return EventAccumulator(
        str(run / "tensorboard"), tensor_size_guidance={"scalars": 0, "images": 0}
    ).Reload()


def begin(run: Path) -> None:
    with report(run, 0) as begun:
        begun.describe({"config": "seed: 1", "data": "digits"}, {"seed": 1})
        begun.picture("reals", np.zeros((2, 2, 1), np.uint8), 0)
        for images_seen in (8, 16, 24):
            begun.tick(images_seen, images_seen // 8, FIGURES)


def check(run: Path) -> None:
    found = board(run)
    curves = [
        tag
        for tag in found.Tags()["tensors"]
        if found.SummaryMetadata(tag).plugin_data.plugin_name == "scalars"
    ]
    assert set(FIGURES) <= set(curves)
    for tag in curves:
        assert [event.step for event in found.Tensors(tag)] == [8, 16, 24, 32], tag
    for tag in (LAYOUT, "config/text_summary", "data/text_summary", "reals"):
        assert [event.step for event in found.Tensors(tag)] == [0], tag
    assert len(list((run / "tensorboard/evaluation").glob("*tfevents*"))) == 1


def test_it_goes_on_after_a_checkpoint(tmp_path: Path) -> None:
    begin(tmp_path)
    with report(tmp_path, 16) as again:
        for images_seen in (24, 32):
            again.tick(images_seen, images_seen // 8, FIGURES)
    check(tmp_path)


def test_it_begins_again_if_there_was_no_checkpoint(tmp_path: Path) -> None:
    begin(tmp_path)
    begin(tmp_path)
    with report(tmp_path, 24) as again:
        again.tick(32, 4, FIGURES)
    check(tmp_path)


def test_a_layout_comes_with_the_first_tick_even_if_that_comes_after_a_checkpoint(tmp_path: Path) -> None:
    with report(tmp_path, 0) as begun:
        begun.describe({"config": "seed: 1"}, {"seed": 1})
    with report(tmp_path, 4) as again:
        again.tick(8, 1, FIGURES)
    assert len(board(tmp_path).Tensors(LAYOUT)) == 1


def test_the_layout_that_is_stored_is_that_of_the_figures(tmp_path: Path) -> None:
    begin(tmp_path)
    (event,) = board(tmp_path).Tensors(LAYOUT)
    layout = layout_pb2.Layout.FromString(event.tensor_proto.string_val[0])
    assert [category.title for category in layout.category] == [
        "losses",
        "regularisers",
        "gradients",
        "throughput",
        "quality",
    ]
    assert list(layout.category[0].chart[0].multiline.tag) == ["^loss/generator$"]


def test_every_chart_has_a_curve() -> None:
    tags = ["loss/generator", "loss/discriminator", "penalty/r1", "path_length", "state/ada_p", "logits/real"]
    layout = curves_layout(tags)
    assert layout["ADA"] == {"probability of augmentation": ["Multiline", ["^state/ada_p$"]]}
    assert set(layout["regularisers"]) == {"penalty/r1", "path_length"}
    assert layout["losses"]["losses"] == ["Multiline", ["^loss/discriminator$", "^loss/generator$"]]
    assert "classes recognised" not in layout["losses"]
    assert "throughput" not in layout
    assert layout["quality"] == {}


def test_the_card_says_what_the_data_are(tmp_path: Path) -> None:
    shards = (Shard("a.tar", 3, 2**20, "0" * 64), Shard("b.tar", 4, 2**20, "1" * 64))
    origin = {"source": "photos|2", "crop": "centre", "quality": None}
    index = ShardIndex(tmp_path, shards, 8, 16, 3, tuple(map(str, range(50))), origin)
    card = data_card(index)
    assert "| images | 7, 16x8, RGB |" in card
    assert "| shards | 2, 2.0 MiB |" in card
    assert "39, ... (50 in all) |" in card
    assert "| source | photos\\|2 |" in card
    assert index.digest in card
    (tmp_path / "README.md").write_text("# Faces\nCC0")
    assert data_card(index).endswith("# Faces\nCC0")
