"""Other extractors than Inception: found, checked, refused in one line; a user's own."""

from __future__ import annotations

import hashlib
import json
import typing
from pathlib import Path
from typing import Any

import pytest
import torch
from torch_fidelity import feature_extractor_clip

from launch.main import main
from launch.options.evaluate import EvaluateOptions
from pipeline.dinov2 import SIDE, DinoV2
from pipeline.errors import UserError
from pipeline.evaluation.features import extractors
from pipeline.evaluation.features.dinov2 import DINOV2
from pipeline.evaluation.features.extractor import Extractor
from pipeline.evaluation.features.extractors import fetch_weights, make_extractors
from pipeline.evaluation.features.weights import ExtractorChoice
from pipeline.evaluation.job import EvaluationJob
from pipeline.evaluation.settings import Settings
from tests.evaluation.worlds import CoarseExtractor, SmoothSampler, write_shards, write_toy_snapshot
from tests.small_run import ROOT
from tests.test_dinov2 import dinov2_tensors


def settings(name: str, **choice: Any) -> Settings:
    return Settings(("fid",), count=12, extractor=ExtractorChoice(name, **choice))


def the_extractor(name: str, **choice: Any) -> Extractor:
    (extractor,) = make_extractors(settings(name, **choice)).values()
    return extractor


def saved(path: Path, content: object) -> dict[str, Any]:
    torch.save(content, path)
    return {"path": path, "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}


def test_an_unknown_one_is_answered_with_the_nearest() -> None:
    message = r"--extractor dino2: unknown; allowed: inception, .*; did you mean dinov2\?"
    for act in (make_extractors, fetch_weights):
        with pytest.raises(UserError, match=message):
            act(settings("dino2"))


def test_dinov2_gives_class_tokens_of_normalised_images_by_checked_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.evaluation.features.dinov2.DinoV2Extractor.size", 64)
    monkeypatch.setattr("pipeline.evaluation.features.dinov2._DEPTH", 2)
    tensors = dinov2_tensors()
    extractor = the_extractor("dinov2", **saved(tmp_path / "w.pth", tensors))
    features, logits = extractor(torch.full((2, 3, 32, 32), 51, dtype=torch.uint8))  # a fifth
    assert logits is None
    shown = torch.tensor([(0.2 - 0.485) / 0.229, (0.2 - 0.456) / 0.224, (0.2 - 0.406) / 0.225])
    network = DinoV2(tensors, resampling="published")
    expected = network(shown.view(1, 3, 1, 1).expand(2, 3, SIDE, SIDE))[:, 0]
    torch.testing.assert_close(features, expected, rtol=1e-4, atol=1e-4)
    assert extractor.digest == hashlib.sha256((tmp_path / "w.pth").read_bytes()).hexdigest()


def test_other_networks_than_dinov2s_are_told_in_a_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"not those of its ViT-L/14: it has no cls_token"):
        the_extractor("dinov2", **saved(tmp_path / "v.pth", {"a": torch.ones(1)}))
    with pytest.raises(UserError, match=r"2 blocks of width 64; allowed: 24 of 1024, those of its ViT-L/14"):
        the_extractor("dinov2", **saved(tmp_path / "w.pth", dinov2_tensors()))


def test_other_weights_of_dinov2_are_refused(tmp_path: Path) -> None:
    saved(tmp_path / "w.pth", {})
    with pytest.raises(UserError, match=f"DINOv2 weights: sha256 is [0-9a-f]+, must be {DINOV2.sha256}"):
        the_extractor("dinov2", path=tmp_path / "w.pth")


class Archive(torch.nn.Module):
    """Tensors under CLIP's names; as TorchScript, like the published file."""

    def __init__(self, visual: torch.nn.Module) -> None:
        super().__init__()
        self.visual = visual
        self.text_projection = torch.nn.Parameter(torch.zeros(4, 6))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x


def test_clip_is_torch_fidelitys(tmp_path: Path, torch_home: Path) -> None:
    torch.manual_seed(0)
    visual = feature_extractor_clip.CLIPVisual(6, 32, 2, 64, 16).visual
    for parameter in visual.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    torch.jit.trace_module(Archive(visual), {"forward": torch.zeros(1)}).save(tmp_path / "clip.pt")
    digest = hashlib.sha256((tmp_path / "clip.pt").read_bytes()).hexdigest()
    extractor = the_extractor("clip", path=tmp_path / "clip.pt", sha256=digest)
    images = torch.randint(0, 256, (2, 3, 20, 20), dtype=torch.uint8)
    reference = feature_extractor_clip.FeatureExtractorCLIP(
        "clip-vit-b-32", ["clip"], feature_extractor_weights_path=str(tmp_path / "clip.pt")
    )
    assert extractor.size == 6
    torch.testing.assert_close(extractor(images)[0], reference(images)[0])
    with pytest.raises(UserError, match="CLIP weights: sha256 is"):
        the_extractor("clip", path=tmp_path / "clip.pt")
    other = saved(tmp_path / "other.pt", {"a": torch.ones(1)})
    with pytest.raises(UserError, match="CLIP weights: not an archive of CLIP"):
        the_extractor("clip", **other)


def test_ones_own_has_names_of_its_own_in_the_result(tmp_path: Path) -> None:
    write_shards(tmp_path / "data", 12)
    snapshot = write_toy_snapshot(tmp_path / "run", 8)
    own = settings("tests.evaluation.worlds:CoarseExtractor")
    job = EvaluationJob(tmp_path / "data", own, lambda s: SmoothSampler(s.spec), print)
    found = job.evaluate(snapshot)
    assert found is not None
    figures = found.metrics["fid-coarse"]
    assert figures["extractor"] == "c" * 64
    assert figures["extractor_name"] == "coarse"
    assert figures["resize"]
    assert job.missing(snapshot) == ()


OWN = """
import torch

class Means:
    name = "means"            # of figures, fid-means, and in results
    digest = "1" * 64         # of its weights: cached statistics are found by it
    resize = "none"           # how images come to its own size; part of what is cached
    size = 3                  # features an image
    has_logits = False        # or the Inception score could be made

    def __init__(self, device):
        self.device = device

    def __call__(self, images):
        assert images.dtype == torch.uint8 and images.shape[1] == 3
        return images.to(self.device).float().mean((2, 3)).cpu(), None

def factory(device):
    assert isinstance(device, torch.device)
    return Means(device)
"""


def test_one_that_is_written_by_the_docs_alone_is_measured_by(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """By what README, help and docstring say: factory(device), five members, a call with uint8 RGB images."""
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/own_means.py").write_text(OWN)
    monkeypatch.syspath_prepend(str(tmp_path / "mine"))
    write_shards(tmp_path / "set", 12, channels=1)
    reals = write_shards(tmp_path / "data", 14, channels=1)
    words = ["evaluate", str(tmp_path / "set"), "--data", str(reals.root), "--metrics", "fid,pr"]
    assert main([*words, "--extractor", "own_means:factory"]) == 0
    assert "FID means" in capsys.readouterr().out
    (path,) = (tmp_path / "set/metrics").iterdir()
    figures = json.loads(path.read_text())["metrics"]
    assert set(figures) == {"fid-means", "pr-means"}
    assert figures["fid-means"]["extractor"] == "1" * 64


def test_what_a_factory_needs_stands_in_documents_help_and_docstring() -> None:
    hints = typing.get_type_hints(EvaluateOptions, include_extras=True)
    page, help_text = (ROOT / "docs/pages/evaluation.md").read_text(), hints["extractor"].__metadata__[0].help
    one_line = " ".join(page.split())
    for text in (one_line, help_text, str(extractors.__doc__)):
        assert "package.module:factory" in text
        assert "torch.device" in text
    for member in ("name", "digest", "resize", "size", "has_logits"):
        assert f"`{member}`" in page
        assert f"{member}:" in str(Extractor.__doc__)


def test_ones_own_under_anothers_name_is_refused() -> None:
    with pytest.raises(UserError, match="calls itself inception, like a built-in one; give it another name"):
        make_extractors(settings("tests.evaluation.test_extractors:masked"))


def masked(device: torch.device) -> CoarseExtractor:
    extractor = CoarseExtractor(device)
    extractor.name = "inception"
    return extractor


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("no.such:thing", "cannot be imported .*PYTHONPATH"),
        ("tests.evaluation.worlds:Nothing", "cannot be imported"),
        ("tests.evaluation.test_extractors:Empty", "lacks name, digest, resize, size, has_logits; needed"),
    ],
)
def test_what_is_none_is_refused(name: str, message: str) -> None:
    with pytest.raises(UserError, match=f"--extractor {name}: .*{message}"):
        the_extractor(name)


class Empty:
    def __init__(self, device: torch.device) -> None:
        self.device = device


def test_the_inception_score_needs_classes(tmp_path: Path) -> None:
    class Blind:
        name, digest, resize, size, has_logits = "blind", "b", "none", 3, False

    write_shards(tmp_path / "data", 12)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pipeline.evaluation.job.make_extractors", lambda _: {"inception": Blind()})
        with pytest.raises(UserError, match="--metrics is: the extractor blind gives no classes"):
            EvaluationJob(
                tmp_path / "data", Settings(("is",), count=12), lambda s: SmoothSampler(s.spec), print
            )
