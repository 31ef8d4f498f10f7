"""Accuracy on asked-for classes: the classifier knows good labels from bad ones, repeats, and is kept."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from pipeline.contracts import Fakes, ImageSpec
from pipeline.data.preparing.prepare import prepare
from pipeline.data.preparing.settings import Asked
from pipeline.data.shards.index import ShardIndex
from pipeline.data.shards.sink import ShardSink
from pipeline.data.streaming.numbered import read_uint8
from pipeline.errors import UserError
from pipeline.evaluation import reference
from pipeline.evaluation.arithmetic import classifier
from pipeline.evaluation.arithmetic.classifier import learn, made_small, predict
from pipeline.evaluation.job import EvaluationJob
from pipeline.evaluation.metrics import class_accuracy
from pipeline.evaluation.settings import Settings
from pipeline.images.codec import encode
from pipeline.images.pictures import to_uint8
from pipeline.randomness import seeded
from tests.evaluation.worlds import write_shards, write_toy_snapshot

NAMES = ("dark", "grey", "bright")


class Patches:
    """Draws what its class says, but for every `wrong`-th seed: grey for dark and dark for grey."""

    def __init__(self, spec: ImageSpec, wrong: int = 0) -> None:
        self.spec, self.wrong = spec, wrong

    def draw(
        self, seeds: Sequence[int], *, classes: Sequence[int] | None = None, truncation: float = 1.0
    ) -> Fakes:
        classes = [seed % len(NAMES) for seed in seeds] if classes is None else classes
        shown = [
            1 - label if self.wrong and seed % self.wrong == 0 else label
            for seed, label in zip(seeds, classes, strict=True)
        ]
        images = [brightness(seed, label, self.spec.height) for seed, label in zip(seeds, shown, strict=True)]
        return Fakes(torch.stack(images), torch.tensor(classes), torch.zeros(len(images), 1))


def brightness(seed: int, label: int, side: int) -> Tensor:
    noise = torch.randn(3, side, side, generator=seeded(seed))
    return ((label - 1) * 0.6 + 0.1 * noise).clamp(-1, 1)


@pytest.fixture
def few_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(classifier, "STEPS", 40)


def write_labelled(root: Path, count: int = 60, side: int = 16) -> ShardIndex:
    with ShardSink(root, name="t", height=side, width=side, channels=3, classes=NAMES) as sink:
        for number in range(count):
            label = number * number % 3  # 0 and 1, one third and two
            pixels = to_uint8(brightness(10_000 + number, label, side)[None])[0].permute(1, 2, 0).numpy()
            sink.write(f"k{number:05d}", encode(pixels.copy(), "png"), "png", label)
    return ShardIndex.read(root)


def job(root: Path, wrong: int = 0, **more: Any) -> EvaluationJob:
    chosen = Settings(("class_accuracy",), **{"count": 30, **more})
    return EvaluationJob(root / "data", chosen, lambda s: Patches(s.spec, wrong), print)


@pytest.mark.usefixtures("few_steps")
def test_a_generator_that_shows_another_class_is_found_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Right ones are all right; of every fifth image that is wrong, exactly those count as wrong."""
    write_labelled(tmp_path / "data")
    said = job(tmp_path).evaluate(write_toy_snapshot(tmp_path / "run", 8, 16, classes=NAMES))
    assert said is not None
    figures = said.metrics["class_accuracy"]
    assert figures["value"] == figures["reals"]["value"] == 1.0
    assert figures["reals"]["count"] == 6
    assert set(figures["classes"]) == {"dark", "grey"}  # as frequent as in the data
    assert sum(one["count"] for one in figures["classes"].values()) == figures["count"] == 30
    # The next snapshot finds the classifier, and reads no reals.
    monkeypatch.setattr(reference, "stored_images", lambda *_: pytest.fail("looked at the reals"))
    monkeypatch.setattr(classifier, "learn", lambda *_: pytest.fail("learnt again"))
    wrong = job(tmp_path, 5).evaluate(write_toy_snapshot(tmp_path / "run", 16, 16, classes=NAMES))
    assert wrong is not None
    assert wrong.metrics["class_accuracy"]["value"] == pytest.approx(24 / 30)


@pytest.mark.usefixtures("few_steps")
def test_of_a_data_set_its_own_labels_are_asked_for(tmp_path: Path) -> None:
    write_labelled(tmp_path / "data")
    found = job(tmp_path, count=None).evaluate(write_labelled(tmp_path / "set", 21))
    assert found is not None
    assert found.metrics["class_accuracy"]["count"] == 21
    assert found.metrics["class_accuracy"]["value"] == 1.0


@pytest.mark.usefixtures("few_steps")
def test_sets_of_fakes_have_the_classes_of_their_own_seeds(tmp_path: Path) -> None:
    """Of the second set too: with the first's, a third of its images would be wrong."""
    write_labelled(tmp_path / "data")
    found = job(tmp_path, seeds=2).evaluate(write_toy_snapshot(tmp_path / "run", 8, 16, classes=NAMES))
    assert found is not None
    assert found.metrics["class_accuracy"]["by_set"] == [1.0, 1.0]


def test_the_same_images_give_the_same_classifier_in_any_thread_count(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(classifier, "STEPS", 5)
    images = torch.randint(0, 256, (40, 3, 32, 32), generator=seeded(0), dtype=torch.uint8)
    labels = torch.arange(40) % 4
    torch.manual_seed(5)
    before = torch.get_rng_state()
    first, accuracy = learn(images, labels, 4)
    threads = torch.get_num_threads()
    torch.set_num_threads(threads + 1)
    second, again = learn(images, labels, 4)
    assert torch.get_num_threads() == threads + 1
    torch.set_num_threads(threads)
    assert accuracy == again
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert torch.equal(torch.get_rng_state(), before)
    assert predict(first, images, 4).shape == (40,)


def test_recipe_is_changed_with_what_it_stands_for() -> None:
    """Another number of steps, rate or architecture needs another RECIPE, or old figures would compare."""
    shapes = {name: tuple(value.shape) for name, value in classifier._network(10).state_dict().items()}
    assert (classifier.RECIPE, classifier.STEPS, classifier.BATCH, classifier.RATE) == (1, 600, 64, 2e-3)
    assert (classifier.SEED, classifier.SIDE, class_accuracy.LEARNT) == (0, 32, 50_000)
    assert [shape for name, shape in shapes.items() if name.endswith("weight")] == [
        *((24, 3, 3, 3), (24,), (48, 24, 3, 3), (48,), (96, 48, 3, 3), (96,), (10, 1536)),
    ]


def test_what_it_sees_is_the_image_made_small() -> None:
    flat = torch.full((2, 3, 128, 96), 77, dtype=torch.uint8)
    assert torch.equal(made_small(flat), torch.full((2, 3, 32, 32), 77, dtype=torch.uint8))
    same = torch.randint(0, 256, (1, 3, 32, 32), generator=seeded(0), dtype=torch.uint8)
    assert torch.equal(made_small(same), same)


@pytest.mark.slow
def test_right_digits_are_known_and_wrong_labels_are_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(classifier, "STEPS", 150)
    prepare("demo:digits", tmp_path / "data", Asked(resolution=16, channels=1, count=900))
    index = ShardIndex.read(tmp_path / "data")
    blocks = [(made_small(images.expand(-1, 3, -1, -1)), labels) for images, labels, _ in read_uint8(index)]
    images = torch.cat([small for small, _ in blocks])
    labels = torch.tensor([label for _, some in blocks for label in some or ()])
    state, held_out = learn(images, labels, 10)
    assert held_out > 0.85
    seen = predict(state, images, 10)
    assert float((seen == labels).float().mean()) > 0.9
    assert float((seen == (labels + 1) % 10).float().mean()) < 0.1


def test_data_without_labels_are_refused(tmp_path: Path) -> None:
    write_shards(tmp_path / "data", 12)
    message = "data: has no labels; --metrics class_accuracy needs them; allowed: labelled shards$"
    with pytest.raises(UserError, match=message):
        job(tmp_path)


def test_a_model_without_classes_is_refused(tmp_path: Path) -> None:
    write_labelled(tmp_path / "data", 12)
    with pytest.raises(UserError, match="--metrics class_accuracy: needs a conditional model and labelled"):
        job(tmp_path).evaluate(write_toy_snapshot(tmp_path / "run", 8, 16))


@pytest.mark.usefixtures("few_steps")
def test_an_image_is_seen_alike_in_any_company() -> None:
    """What the other images of a batch are moves nothing."""
    labels = torch.arange(40) % 3
    images = torch.stack([brightness(n, int(label), 32) for n, label in enumerate(labels)])
    pixels = to_uint8(images)
    state, _ = learn(pixels, labels, 3)
    together = predict(state, pixels, 3)
    assert torch.equal(together, labels)
    assert torch.equal(torch.cat([predict(state, one[None], 3) for one in pixels[:6]]), together[:6])
