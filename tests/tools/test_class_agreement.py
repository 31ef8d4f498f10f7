"""The classifier that judges conditional samples: it must know good labels from bad ones."""

from __future__ import annotations

import pytest

from pipeline.data.preparing.prepare import prepare
from pipeline.errors import UserError
from tools.research import class_agreement


@pytest.mark.slow
def test_right_labels_agree_and_wrong_ones_do_not(tmp_path, monkeypatch):
    monkeypatch.setattr(class_agreement, "_STEPS", 150)
    prepare("demo:digits", tmp_path / "reals", resolution=16, channels=1, count=900, progress=False)
    found = class_agreement.agreement(tmp_path / "reals", tmp_path / "reals")
    assert found["count"] == 900
    assert found["held_out"] > 0.85
    assert found["agreement"] > 0.9
    labelled = class_agreement.labelled

    def shifted(path):
        images, labels, names = labelled(path)
        return images, (labels + 1) % 10 if path.name == "fakes" else labels, names

    (tmp_path / "fakes").symlink_to(tmp_path / "reals")
    monkeypatch.setattr(class_agreement, "labelled", shifted)
    assert class_agreement.agreement(tmp_path / "reals", tmp_path / "fakes")["agreement"] < 0.1


def test_shards_without_labels_are_refused(tmp_path):
    prepare("demo:faces", tmp_path / "faces", resolution=16, count=4, labels="none", progress=False)
    with pytest.raises(UserError, match="has no labels; allowed: labelled shards"):
        class_agreement.labelled(tmp_path / "faces")
