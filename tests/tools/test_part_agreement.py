"""Agreement of what is drawn with maps of parts: counted by hand, and a judge that learns two colours."""

from __future__ import annotations

import pytest
import torch

from tools.part_agreement import Agreement, agreement, learn, main


class Told(torch.nn.Module):
    """A judge that reads the part off the image's brightness."""

    parts = 3

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return -(images - torch.tensor([0.0, 1.0, 2.0]).view(1, 3, 1, 1)).square()


def test_figures_are_those_of_a_hand_count() -> None:
    shown = torch.tensor([[[[0.0, 0, 1, 1], [1, 1, 1, 0]]]])
    asked = torch.tensor([[[[0, 0, 0, 1], [1, 1, 1, 1]]]], dtype=torch.uint8)
    # Part 0: 2 of 3 right, union 4. Part 1: 4 of 5 right, union 6. Part 2: asked for nowhere.
    found = agreement(Told(), shown, asked)  # type: ignore[arg-type]
    assert found.pixels == pytest.approx(6 / 8)
    assert found.parts == pytest.approx((2 / 3 + 4 / 5) / 2)
    assert found.overlap == pytest.approx((2 / 4 + 4 / 6) / 2)
    assert agreement(Told(), asked.float(), asked) == Agreement(1.0, 1.0, 1.0)  # type: ignore[arg-type]


def test_codes_above_the_last_are_the_last() -> None:
    asked = torch.tensor([[[[0, 7, 2, 1]]]], dtype=torch.uint8)
    assert agreement(Told(), asked.float().clamp(max=2), asked).pixels == 1  # type: ignore[arg-type]


def test_a_judge_learns_from_reals_what_others_do_not_show() -> None:
    numbers = torch.Generator().manual_seed(0)
    maps = (torch.rand(48, 1, 2, 2, generator=numbers) < 0.4).byte()
    maps = maps.repeat_interleave(4, 2).repeat_interleave(4, 3)
    reals = maps * 0.8 - 0.4 + 0.2 * torch.randn(48, 1, 8, 8, generator=numbers)
    judge = learn(reals[:32], maps[:32], 2, steps=60)
    assert agreement(judge, reals[32:], maps[32:]).parts > 0.9
    assert agreement(judge, reals[32:].roll(1, 0), maps[32:]).parts < 0.7
    assert agreement(judge, torch.zeros(16, 1, 8, 8), maps[32:]).parts < 0.7


def test_what_is_no_run_is_a_line(tmp_path, capsys) -> None:
    assert main([str(tmp_path), "--data", str(tmp_path)]) == 2
    assert capsys.readouterr().err.startswith("hrgan: error: ")
