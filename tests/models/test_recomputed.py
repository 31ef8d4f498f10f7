"""Blocks computed again in the backward pass: the same bits in every phase, buffers moved once, less kept."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

import ops
from launch.main import main
from pipeline.config.families import StyleGAN2Config
from pipeline.contracts import Batch, ImageSpec
from pipeline.models.layers import BatchNorm, Recomputable, SpectralLinear, recompute_blocks
from pipeline.models.registry import build_family
from pipeline.randomness import SampleRandomness
from pipeline.training.trainer import only_trainable

SPEC = ImageSpec(16, 16, 3, 3)


def family(low_precision: torch.dtype | None = None, **settings: object):
    config = StyleGAN2Config.model_validate(
        {
            "name": "stylegan2",
            "channel_base": 128,
            "channel_max": 16,
            "mapping_layers": 1,
            "w_dim": 16,
            "z_dim": 16,
            "low_precision_levels": 2,
            **settings,
        }
    )
    return build_family(config, SPEC, batch_size=4, low_precision=low_precision)


def gradients(game_family, nets) -> dict[str, Tensor]:
    """Of every phase, by `phase.net.parameter`, on the same images and random numbers."""
    reals = Batch(torch.randn(4, 3, 16, 16, generator=torch.Generator().manual_seed(2)), torch.arange(4) % 3)
    found = {}
    for phase in game_family.phases:
        with only_trainable(nets, phase):
            game = game_family.game(nets, game_family.schedule.at(0), SampleRandomness(range(4)))
            phase.objective(game, game.present(reals)).loss.mean().backward()
        for net, module in nets.items():
            for name, parameter in module.named_parameters():
                if parameter.grad is not None:
                    found[f"{phase.name}.{net}.{name}"] = parameter.grad
                    parameter.grad = None
    return found


@pytest.mark.parametrize("low_precision", [None, torch.bfloat16])
@pytest.mark.parametrize("architectures", [("skip", "residual"), ("residual", "skip")])
def test_every_phase_has_the_same_gradients(architectures, low_precision) -> None:
    generator, discriminator = architectures
    ours = family(
        low_precision,
        generator_architecture=generator,
        discriminator_architecture=discriminator,
        r2_gamma=1.0,
    )
    assert len(ours.phases) >= 4  # both networks' main phases and both lazy penalties
    torch.manual_seed(0)
    kept = ours.networks()
    for module in (kept.generator, kept.discriminator):
        for parameter in module.parameters():  # biases and noise strengths start at zero, which hides much
            parameter.data += 0.1 * torch.randn_like(parameter)
    again = copy.deepcopy(kept)
    assert [recompute_blocks(net) for _, net in again.items()] == [3, 2]
    expected, got = gradients(ours, kept), gradients(ours, again)
    assert expected.keys() == got.keys()
    assert {name.split(".")[0] for name in got} == {phase.name for phase in ours.phases}
    for name, gradient in expected.items():
        assert torch.equal(gradient, got[name]), name


def _kept_bytes(net: nn.Module, call) -> int:
    """Bytes of distinct memory, other than parameters, that the forward pass keeps for the backward pass."""
    own = {p.untyped_storage().data_ptr() for p in (*net.parameters(), *net.buffers())}
    kept: dict[int, int] = {}

    def note(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        out = call()
    del out
    return sum(kept.values())


def test_activations_inside_blocks_are_not_kept() -> None:
    nets = family().networks()
    images = torch.randn(8, 3, 16, 16, requires_grad=True)
    labels = torch.arange(8) % 3

    def judge() -> Tensor:
        out: Tensor = nets.discriminator(images, labels)
        return out

    before = _kept_bytes(nets.discriminator, judge)
    recompute_blocks(nets.discriminator)
    assert _kept_bytes(nets.discriminator, judge) < before / 3


class Block(Recomputable):
    def __init__(self, width: int = 6) -> None:
        super().__init__()
        self.power, self.norm = SpectralLinear(width, width), BatchNorm(width)

    def compute(self, x: Tensor) -> Tensor:
        y: Tensor = self.norm(self.power(x)[..., None, None], act="relu")[..., 0, 0]
        return y.square()


def _two_passes(block: Block) -> dict[str, Tensor]:
    """Two forward passes, then one backward pass through both and a gradient penalty."""
    noise = torch.Generator().manual_seed(3)
    x = torch.randn(5, 6, generator=noise, requires_grad=True)
    y = torch.randn(5, 6, generator=noise)
    first, second = block(x), block(y)
    (slope,) = torch.autograd.grad(first.square().sum(), x, create_graph=True)
    (slope.square().sum() + second.sum()).backward()
    grads = {f"gradient.{name}": p.grad for name, p in block.named_parameters() if p.grad is not None}
    return {**grads, **{name: buffer.clone() for name, buffer in block.named_buffers()}}


def test_buffers_move_once_and_each_pass_is_repeated_with_its_own() -> None:
    torch.manual_seed(0)
    kept = Block()
    again = copy.deepcopy(kept)
    before = {name: buffer.clone() for name, buffer in kept.named_buffers()}
    recompute_blocks(again)
    expected, got = _two_passes(kept), _two_passes(again)
    assert expected.keys() == got.keys()
    assert sum(name.startswith("gradient.") for name in got) == 4
    for name, value in expected.items():
        torch.testing.assert_close(got[name], value, rtol=0, atol=0, msg=name)
    assert all(not torch.equal(got[name], value) for name, value in before.items())


def test_a_layer_that_hides_its_moving_buffers_is_refused() -> None:
    class Hidden(SpectralLinear):
        moves = ()

    block = Block()
    block.power = Hidden(6, 6)
    recompute_blocks(block)
    with pytest.raises(RuntimeError, match=r"Hidden\.forward changes u: name it in `moves`"):
        block(torch.randn(5, 6))


def test_a_copy_made_before_keeps_its_activations() -> None:
    block = Block()
    average = copy.deepcopy(block)
    assert recompute_blocks(block) == 1
    assert not average._recomputes


def test_a_family_without_blocks_says_so(tmp_path, capsys) -> None:
    data = str(tmp_path / "data")
    assert main(["prepare", "demo:digits", data, "--count", "8"]) == 0
    config = tmp_path / "mlp.yaml"
    config.write_text("family: {name: mlp}\nengine: {device: cpu, recompute: blocks}\n")
    assert main(["train", str(config), f"data.path={data}", "--run", str(tmp_path / "run")]) == 2
    assert "engine.recompute=blocks: this family's networks have no blocks" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["engine.compile=true"], "engine.recompute=blocks: not with engine.compile=true"),
        (["engine.recompute=layers"], "engine.recompute=layers: allowed: off, blocks"),
    ],
)
def test_what_cannot_be_asked(overrides, message, tmp_path, capsys) -> None:
    command = ["train", "configs/stylegan2-32.yaml", "engine.recompute=blocks", *overrides]
    assert main([*command, "--run", str(tmp_path / "run")]) == 2
    assert message in capsys.readouterr().err


class Activated(Recomputable):
    def compute(self, x: Tensor) -> Tensor:
        return ops.affine_act(ops.affine_act(x, act="lrelu"), act="lrelu")  # each saves its result


def test_a_step_leaves_no_memory_behind() -> None:
    ops.use("native", devices=("cpu",))
    assert ops.keep_memory()
    block = Activated()
    recompute_blocks(block)
    x = torch.randn(8, 64, 64, 64, requires_grad=True)  # 8 MiB
    held = []
    for _ in range(3):
        block(x).square().mean().backward()
        held.append(ops.memory_state()[0])
    assert held[0] == held[1] == held[2]
