"""Batch normalisation in one process against torch's own."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from pipeline.models.layers import BatchNorm


def test_training_and_evaluation_equal_torchs():
    ours, theirs = BatchNorm(4), torch.nn.BatchNorm2d(4)
    x = torch.randn(6, 4, 3, 3) * 3 + 2
    torch.testing.assert_close(ours(x), theirs(x))
    torch.testing.assert_close(ours.running_mean, theirs.running_mean)
    # torch keeps the unbiased variance, this one the biased, which normalises.
    torch.testing.assert_close(ours.running_var, 0.9 + 0.1 * x.var(dim=[0, 2, 3], correction=0))
    ours.eval()
    expected = F.batch_norm(x, ours.running_mean, ours.running_var)
    torch.testing.assert_close(ours(x), expected)


def test_gain_and_bias_of_each_sample():
    norm = BatchNorm(4, affine=False)
    assert not list(norm.parameters())
    x, gain, bias = torch.randn(6, 4, 3, 3), torch.randn(6, 4), torch.randn(6, 4)
    plain = F.batch_norm(x, None, None, training=True)
    expected = (plain * gain[:, :, None, None] + bias[:, :, None, None]).relu()
    torch.testing.assert_close(norm(x, gain, bias, act="relu"), expected)


def test_a_batch_that_is_not_finite_leaves_the_running_statistics():
    norm = BatchNorm(2)
    norm(torch.randn(4, 2, 3, 3))
    mean, var = norm.running_mean.clone(), norm.running_var.clone()
    x = torch.randn(4, 2, 3, 3)
    x[0, 1] = float("nan")
    norm(x)
    assert norm.running_mean[0] != mean[0]
    assert norm.running_mean[1] == mean[1]
    assert norm.running_var[1] == var[1]
