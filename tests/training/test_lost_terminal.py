"""What a person follows, when nobody follows any more."""

from __future__ import annotations

import json
import os
import sys

import torch

from pipeline.training.report import Report


def test_without_a_terminal_the_log_goes_on(tmp_path, monkeypatch):
    read, write = os.pipe()
    os.close(read)
    report = Report(tmp_path, total=40, start=0, device=torch.device("cpu"), tensorboard=False)
    with os.fdopen(write, "w", buffering=1) as gone, report:
        monkeypatch.setattr(sys, "stderr", gone)
        for step in range(1, 4):
            report.tick(8 * step, step, {"loss/generator": 1.0})
            report.advance(8 * step)
        monkeypatch.undo()
        os.dup2(os.open(os.devnull, os.O_WRONLY), gone.fileno())  # what is buffered goes nowhere
    lines = (tmp_path / "log.jsonl").read_text().splitlines()
    assert [json.loads(line)["images_seen"] for line in lines] == [8, 16, 24]
