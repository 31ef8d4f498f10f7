"""Files of tensors: who may read them."""

from __future__ import annotations

import os
import stat

import pytest
import torch

from pipeline.storage.tensors import load_tensors, save_tensors


@pytest.mark.parametrize("umask", [0o022, 0o027, 0o077])
def test_the_umask_says_who_may_read_a_file(tmp_path, umask):
    before = os.umask(umask)
    try:
        save_tensors(tmp_path / "w.safetensors", {"w": torch.ones(3)})
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "w.safetensors").stat().st_mode) == 0o666 & ~umask
    assert torch.equal(load_tensors(tmp_path / "w.safetensors")["w"], torch.ones(3))
