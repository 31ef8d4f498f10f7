"""`hrgan generate --filter`: scores of a real discriminator, features of a real extractor, mistakes."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import torch

from launch.main import main
from pipeline.config.families import StyleGAN2Config
from pipeline.contracts import ImageSpec, Stage
from pipeline.data.shards.index import ShardIndex
from pipeline.data.shards.reader import ShardReader
from pipeline.data.streaming.numbered import read_uint8
from pipeline.evaluation.features.weights import InceptionWeights
from pipeline.models.registry import build_family
from pipeline.storage.snapshots import write_imported
from tests.evaluation.conftest import inception  # noqa: F401
from tests.evaluation.worlds import write_shards

# p of the augmentation is fixed: the filter must judge images as they are.
FAMILY = StyleGAN2Config(
    z_dim=16, w_dim=16, mapping_layers=2, channel_base=256, channel_max=16, minibatch_stddev_group=4
).model_copy(update={"ada": StyleGAN2Config().ada.model_copy(update={"mode": "fixed", "p": 1.0})})


@pytest.fixture(scope="module")
def snapshot(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder, spec = tmp_path_factory.mktemp("imported") / "both", ImageSpec(32, 32, 3, 3)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        networks = build_family(FAMILY, spec, batch_size=8).networks()
    write_imported(
        folder,
        networks.generator.state_dict(),
        family=FAMILY,
        spec=spec,
        stage=Stage(32, 1.0, 8, {}),
        origin={"file": "both.pkl", "sha256": "0", "format": "ours"},
        discriminator=networks.discriminator.state_dict(),
    )
    return folder


def hrgan(*words: object) -> int:
    return main([str(word) for word in words])


def test_the_discriminator_judges_what_is_stored_in_whole_groups(snapshot: Path, tmp_path: Path) -> None:
    words = ("--count", 12, "--classes", "all", "--filter", "discriminator:-1000000000")
    assert hrgan("generate", snapshot, tmp_path / "out", *words) == 0
    index = ShardIndex.read(tmp_path / "out")
    with ShardReader(index) as reader:
        found = [reader.read(0, member).meta["discriminator"] for member in range(12)]
    images, labels, _ = next(read_uint8(index))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        judge = build_family(FAMILY, index.spec, batch_size=8).networks().discriminator.eval()
    shown = images.float() / 127.5 - 1
    assert labels is not None
    expected = []
    for group in ([*range(8)], [8, 9, 10, 11, 8, 9, 10, 11]):
        with torch.no_grad():
            logits = judge(shown[group], torch.tensor(labels)[group], exact=True)
        expected += logits[: 8 if group[0] == 0 else 4].tolist()
    assert found == pytest.approx(expected, rel=1e-4, abs=1e-5)
    assert max(found) - min(found) > 1e-3
    card = json.loads((tmp_path / "out" / "card.json").read_bytes())
    assert card["command"] == f"hrgan generate {snapshot} {tmp_path / 'out'} {' '.join(map(str, words))}"


@pytest.mark.slow
def test_realism_and_neighbours_by_inception(
    snapshot: Path,
    tmp_path: Path,
    inception: InceptionWeights,  # noqa: F811
) -> None:
    write_shards(tmp_path / "reals", 5)
    words = ("--count", 3, "--filter", "realism:0.0001", "--reference", tmp_path / "reals", "--neighbours")
    by = ("--extractor", "inception")
    weights = (*by, "--inception-weights", inception.path, "--inception-digest", inception.sha256)
    assert hrgan("generate", snapshot, tmp_path / "out", *words, *weights) == 0
    listed = json.loads((tmp_path / "out" / "neighbours.json").read_bytes())
    assert listed["features"] == inception.sha256
    assert len(listed["images"]) == 3
    assert (tmp_path / "out" / "neighbours.jpg").is_file()
    card = json.loads((tmp_path / "out" / "card.json").read_bytes())
    assert card["made"]["filters"]["realism"] == "at least 0.0001"
    assert "--filter realism:0.0001" in card["command"]
    assert list((tmp_path / "reals" / "statistics").glob("features-*.safetensors"))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            # Kynkaanniemi et al. 2019 define realism by VGG16.
            ("--filter", "realism:1", "--reference", "{alike}", "--vgg-weights", "{alike}/index.json"),
            "VGG16 weights: sha256 is",
        ),
        (("--filter", "realism:1"), "--reference: not given; --filter realism and --neighbours compare"),
        (("--filter", "likeness:1"), "--filter likeness:1: unknown; allowed: discriminator:VALUE"),
        (("--filter", "duplicates:3", "--grid"), "--filter, --neighbours: only shards can have them"),
        (("--neighbours", "--reference", "{grey}"), "prepare the images in that format"),
        (("--reference", "{grey}"), "are only used by --filter realism:... and --neighbours"),
        (("--extractor", "pixels"), "are only used by --filter realism:... and --neighbours"),
        (("--discriminator", "{grey}"), "--discriminator: is only used by --filter discriminator"),
        (("--most", "30"), "--most: is only used with --filter"),
        (
            ("--filter", "discriminator:1", "--discriminator", "nowhere"),
            "--discriminator: nowhere: no such folder; allowed: a snapshot",
        ),
        (("--filter", "duplicates:3", "--most", "2"), "--most 2: fewer candidates than images"),
    ],
)
def test_mistakes_end_in_one_line(
    snapshot: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], words: tuple[str, ...], message: str
) -> None:
    write_shards(tmp_path / "grey", 5, channels=1)
    write_shards(tmp_path / "alike", 5)
    given = [word.format(grey=tmp_path / "grey", alike=tmp_path / "alike") for word in words]
    assert hrgan("generate", snapshot, tmp_path / "out", "--count", 4, *given) == 2
    said = capsys.readouterr().err.strip()
    assert re.search(message, said), said
    assert "\n" not in said
    assert not (tmp_path / "out").exists()
