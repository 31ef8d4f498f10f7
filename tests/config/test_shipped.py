"""Configurations by name: what a word means, and what is said to one that means nothing."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from launch.commands.configs import title
from launch.main import main
from pipeline.config import shipped
from pipeline.config.load import load_cluster, load_config
from pipeline.config.shipped import CLUSTERS, locate, names
from pipeline.errors import UserError

ROOT = Path(__file__).parents[2]


def _refused(word: str, group: str = "") -> str:
    with pytest.raises(UserError) as caught:
        locate(Path(word), group)
    return str(caught.value)


def test_every_file_has_its_name() -> None:
    assert names() == sorted(path.stem for path in (ROOT / "configs").glob("*.yaml"))
    assert names(CLUSTERS) == ["cluster/example", "cluster/sandbox"]
    for name in (*names(), *names(CLUSTERS)):
        assert shipped.shipped(name) == shipped.shipped(f"{name}.yaml") == ROOT / f"configs/{name}.yaml"


def test_the_link_and_the_folder_are_one() -> None:
    assert (ROOT / "pipeline/configs").is_symlink()
    assert shipped.folder() == (ROOT / "configs").resolve()


@pytest.mark.parametrize("checkout", [True, False])
def test_without_the_link_only_a_checkout_looks_beside_its_packages(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, checkout: bool
) -> None:
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs/a.yaml").touch()
    if checkout:
        (tmp_path / "pyproject.toml").touch()
    monkeypatch.setattr(shipped, "__file__", str(tmp_path / "pipeline/config/shipped.py"))
    monkeypatch.setattr(shipped, "folder", shipped.folder.__wrapped__)
    assert names() == (["a"] if checkout else [])


def test_a_file_comes_before_a_name_and_a_name_before_a_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert load_config("mlp-32") == load_config(ROOT / "configs/mlp-32.yaml")
    (tmp_path / "mlp-32").mkdir()
    assert load_config("mlp-32").family.name == "mlp"
    (tmp_path / "mlp-32").rmdir()
    (tmp_path / "mlp-32").write_text("family: {name: dcgan}")
    assert load_config("mlp-32").family.name == "dcgan"
    assert load_cluster("example") == load_cluster(ROOT / "configs/cluster/example.yaml")


def test_a_copy_inherits_from_what_lies_beside_it_and_then_from_what_comes_with_hrgan(tmp_path: Path) -> None:
    copy = tmp_path / "mine.yaml"
    shutil.copy(ROOT / "configs/mlp-32.yaml", copy)
    assert load_config(copy) == load_config("mlp-32")
    copy.write_text("inherit: mlp-32\nseed: 7")
    assert load_config(copy) == load_config("mlp-32", ["seed=7"])
    copy.write_text("inherit: mlp-32.yaml\nseed: 7")
    (tmp_path / "mlp-32.yaml").write_text("family: {name: dcgan}")
    assert load_config(copy).family.name == "dcgan"


def test_a_word_that_means_nothing_is_told_the_nearest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    unknown = "no configuration of that name comes with hrgan"
    assert _refused("mlp-33").startswith(f"mlp-33: no such file, and {unknown}; did you mean mlp-32")
    assert _refused("zzz") == f"zzz: no such file, and {unknown}; hrgan configs lists those that do"
    assert _refused("exampel", CLUSTERS).endswith(f"{unknown}; did you mean example?")
    (tmp_path / "mine.yaml").touch()
    assert _refused("mine.yml") == "mine.yml: no such file; did you mean mine.yaml?"
    (tmp_path / "folder").mkdir()
    assert _refused("folder") == "folder: is a folder; expected a YAML file"
    with pytest.raises(UserError, match=r"^configs/mlp-33\.yaml: no such file, and .* mean mlp-32"):
        load_config("configs/mlp-33.yaml")
    with pytest.raises(
        UserError, match=r"^cluster/exampl: no configuration .*; did you mean cluster/example\?$"
    ):
        shipped.shipped("cluster/exampl")


@pytest.mark.parametrize(
    "word", ["../configs/mlp-32", "cluster/../mlp-32", "/mlp-32", "", ".", "a\0b", "x" * 5000]
)
def test_a_name_leads_nowhere_else(word: str) -> None:
    assert shipped.find(word) is None
    with pytest.raises(UserError):
        load_config(word)


def test_the_list_says_what_each_trains(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["configs"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["name", "family", "side", "what", "it", "trains"]
    rows = {line.split()[0]: line.split(maxsplit=3)[1:] for line in lines[1 : 1 + len(names())]}
    assert rows.keys() == set(names())
    for name in set(names()) - {"base"}:
        config = load_config(name)
        assert rows[name][:2] == [config.family.name, str(config.data.resolution or "any")]
    assert rows["progan-32"][2] == "ProGAN at 32px, small enough for a CPU: to try things out, and for tests"
    assert "hrgan submit --cluster: cluster/example, cluster/sandbox" in "\n".join(lines)


def test_a_title_is_the_first_sentence_and_no_more() -> None:
    assert title("# By A et al. 2019 (x),\n# of 3.5px. More.\n#\n# Not this.\nseed: 0\n") == (
        "By A et al. 2019 (x), of 3.5px"
    )
    assert title("# One\n# line.\nseed: 0 # no\n") == "One line"
