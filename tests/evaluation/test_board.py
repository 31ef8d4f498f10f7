"""What TensorBoard shows of evaluations: every figure once, in both of its loaders, beside the settings."""

from __future__ import annotations

from pathlib import Path

from tensorboard.backend.event_processing.event_file_loader import RawEventFileLoader
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.plugins.custom_scalar import layout_pb2
from tensorboard.plugins.hparams import metadata, plugin_data_pb2

from pipeline.board.events import EVALUATION, begin_evaluation
from pipeline.evaluation.board import quality_layout, write_scalars
from pipeline.evaluation.results import Result


def result(images_seen: int, **values: float) -> Result:
    return Result(images_seen, "digest", {name: {"value": value} for name, value in values.items()})


def show(run: Path, *results: Result) -> None:
    """After these results were published."""
    (run / "metrics").mkdir(exist_ok=True)
    for one in results:
        (run / f"metrics/{one.images_seen:012d}.json").write_bytes(one.to_bytes())
    write_scalars(run)


def stored(run: Path) -> list[Event]:
    (path,) = (run / EVALUATION).glob("*tfevents*")
    return [Event.FromString(data) for data in RawEventFileLoader(str(path)).Load()]


def shown(run: Path) -> dict[str, list[tuple[int, float]]]:
    """The curves, as a loader sees them in which a point replaces those at its step and after."""
    curves: dict[str, list[tuple[int, float]]] = {}
    for event in stored(run):
        for value in event.summary.value:
            if value.HasField("simple_value"):
                kept = [point for point in curves.get(value.tag, []) if point[0] < event.step]
                curves[value.tag] = [*kept, (event.step, value.simple_value)]
    return curves


def test_snapshots_that_are_measured_late_are_sorted_in(tmp_path: Path) -> None:
    for images_seen in (0, 24, 8, 16):
        show(tmp_path, result(images_seen, swd=1.0 + images_seen))
    assert shown(tmp_path) == {"metrics/swd": [(0, 1.0), (8, 9.0), (16, 17.0), (24, 25.0)]}


def test_a_newer_file_comes_last_for_a_loader_and_begins_afresh(tmp_path: Path) -> None:
    names = []
    for images_seen in (0, 8, 16):
        show(tmp_path, result(images_seen, swd=1.0))
        names += [path.name for path in (tmp_path / EVALUATION).glob("*tfevents*")]
    assert names == sorted(set(names))
    assert [event.session_log.status for event in stored(tmp_path)[:2]] == [
        0,
        1,
    ]  # START drops what was before


def test_measured_again_a_snapshot_has_its_new_figures_alone(tmp_path: Path) -> None:
    show(tmp_path, result(0, swd=3.0, fid=300.0), result(8, swd=2.0, fid=200.0))
    show(tmp_path, result(8, swd=1.0))
    assert shown(tmp_path) == {"metrics/swd": [(0, 3.0), (8, 1.0)], "metrics/fid": [(0, 300.0)]}


def test_what_is_shown_is_not_written_again_and_keeps_its_time(tmp_path: Path) -> None:
    show(tmp_path, result(0, swd=3.1))
    times = {event.step: event.wall_time for event in stored(tmp_path) if event.HasField("summary")}
    before = {path: path.read_bytes() for path in (tmp_path / EVALUATION).iterdir()}
    show(tmp_path, result(0, swd=3.1))
    assert {path: path.read_bytes() for path in (tmp_path / EVALUATION).iterdir()} == before
    show(tmp_path, result(8, swd=3.1))
    assert [event.wall_time for event in stored(tmp_path) if event.step == 0][-1] == times[0]


def test_figures_of_before_by_other_features_move_to_their_own_curve(tmp_path: Path) -> None:
    """Precision and recall by Inception were called pr once; a board that shows them so is mended."""
    pr = {"value": 0.5, "precision": 0.7, "recall": 0.4}
    show(tmp_path, Result(0, "digest", {"pr": {**pr, "extractor_name": "vgg16"}}))
    before = set(shown(tmp_path))
    show(tmp_path, Result(0, "digest", {"pr": {**pr, "extractor_name": "inception"}}))
    assert before == {"metrics/pr", "metrics/pr/precision", "metrics/pr/recall"}
    assert set(shown(tmp_path)) == {tag.replace("/pr", "/pr-inception", 1) for tag in before}


def test_what_a_killed_evaluator_left_is_joined(tmp_path: Path) -> None:
    begin_evaluation(tmp_path, {"batch.size": 8})
    (first,) = (tmp_path / EVALUATION).glob("*tfevents*")
    before = first.read_bytes()
    show(tmp_path, result(0, swd=3.0))
    first.write_bytes(before)  # killed before it could remove what it replaced
    show(tmp_path, result(8, swd=2.0))
    tags = [value.tag for event in stored(tmp_path) for value in event.summary.value]
    assert tags.count(metadata.SESSION_START_INFO_TAG) == tags.count("custom_scalars__config__") == 1
    assert shown(tmp_path) == {"metrics/swd": [(0, 3.0), (8, 2.0)]}
    assert not list((tmp_path / EVALUATION).glob(".*tfevents*"))


def test_settings_stand_beside_the_figures_once(tmp_path: Path) -> None:
    begin_evaluation(
        tmp_path, {"family.name": "x", "batch.size": 8, "data.mirror": True, "batch.micro": None}
    )
    show(tmp_path, result(0, swd=3.0))
    begin_evaluation(tmp_path, {"batch.size": 16})
    show(tmp_path, result(8, swd=2.0))
    values = [value for event in stored(tmp_path) for value in event.summary.value]
    (start,) = [value for value in values if value.tag == metadata.SESSION_START_INFO_TAG]
    content = plugin_data_pb2.HParamsPluginData.FromString(start.metadata.plugin_data.content)
    hparams = content.session_start_info.hparams
    assert {name: hparams[name].WhichOneof("kind") for name in hparams} == {
        "family.name": "string_value",
        "batch.size": "number_value",
        "data.mirror": "bool_value",
        "batch.micro": "string_value",
    }
    assert (hparams["batch.size"].number_value, hparams["batch.micro"].string_value) == (8, "null")


def test_the_layout_has_a_chart_a_metric(tmp_path: Path) -> None:
    pr = {"value": 0.5, "precision": 0.7, "recall": 0.4, "extractor_name": "vgg16"}
    show(tmp_path, Result(0, "digest", {"fid": {"value": 30.0}, "pr": pr}))
    show(tmp_path, Result(8, "digest", {"fid": {"value": 20.0}, "pr": pr}))
    values = [value for event in stored(tmp_path) for value in event.summary.value]
    (layout,) = [value for value in values if value.tag == "custom_scalars__config__"]
    (category,) = layout_pb2.Layout.FromString(layout.tensor.string_val[0]).category
    assert category.title == "quality"
    assert {chart.title: list(chart.multiline.tag) for chart in category.chart} == {
        "fid (lower is better)": ["^metrics/fid$"],
        "pr (higher is better)": ["^metrics/pr$", "^metrics/pr/precision$", "^metrics/pr/recall$"],
    }


def test_a_range_over_seeds_is_a_band_around_its_metric() -> None:
    tags = ["metrics/fid", "metrics/fid/low", "metrics/fid/high", "metrics/fid/spread"]
    assert quality_layout(tags)["quality"] == {
        "fid (lower is better)": ["Multiline", ["^metrics/fid$"]],
        "fid over seeds": ["Margin", ["metrics/fid", "metrics/fid/low", "metrics/fid/high"]],
    }


def test_where_the_reals_are_is_a_curve_and_how_many_there_are_is_none(tmp_path: Path) -> None:
    reals = {"value": 0.25, "count": 2000}
    show(
        tmp_path,
        Result(8, "digest", {"msssim": {"value": 0.5, "reals": reals}, "fid": {"value": 3.0, "reals": 70}}),
    )
    assert shown(tmp_path) == {
        "metrics/msssim": [(8, 0.5)],
        "metrics/msssim/reals": [(8, 0.25)],
        "metrics/fid": [(8, 3.0)],
    }
    tags = [*shown(tmp_path)]
    assert quality_layout(tags)["quality"]["msssim (best near the reals)"] == [
        "Multiline",
        ["^metrics/msssim$", "^metrics/msssim/reals$"],
    ]
