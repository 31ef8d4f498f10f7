"""Main phases through torch.compile: the same numbers; penalties and the averaged copy stay as they were."""

from __future__ import annotations

import copy

import torch

from pipeline.config.families import StyleGAN2Config
from pipeline.contracts import ImageSpec
from pipeline.models.layers import compile_main_phases
from pipeline.models.registry import build_family


def networks():
    config = StyleGAN2Config(channel_base=128, channel_max=16, mapping_layers=1, w_dim=16, z_dim=16)
    torch.manual_seed(0)
    return build_family(config, ImageSpec(16, 16, 3), batch_size=4).networks()


def loss_and_gradients(nets):
    g = torch.Generator().manual_seed(1)
    ws = torch.randn(4, nets.generator.layers, 16, generator=g)
    loss = nets.discriminator(nets.generator.synthesis(ws)).square().mean()
    parameters = [*nets.generator.synthesis.parameters(), *nets.discriminator.parameters()]
    return loss, torch.autograd.grad(loss, parameters, allow_unused=True)


def test_compiled_networks_compute_the_same():
    eager, compiled = networks(), networks()
    average = copy.deepcopy(compiled.generator)
    graphs = []

    def count(graph, inputs):
        graphs.append(graph)
        return graph.forward

    assert compile_main_phases(compiled.generator, count) == 1
    assert compile_main_phases(compiled.discriminator, count) == 1
    (loss, ours), (expected, theirs) = loss_and_gradients(compiled), loss_and_gradients(eager)
    assert len(graphs) == 2, "a network is one graph"
    torch.testing.assert_close(loss, expected)
    for one, two in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, two, rtol=1e-4, atol=1e-6)
    # The copy made before does not run what was compiled, with weights that are not its own.
    with torch.no_grad():
        for p in average.parameters():
            p.zero_()
    average.synthesis(torch.zeros(4, average.layers, 16))
    assert len(graphs) == 2


def test_penalties_stay_eager_and_differentiable_twice():
    nets = networks()
    graphs = []
    compile_main_phases(nets.discriminator, lambda graph, _: graphs.append(graph) or graph.forward)
    images = torch.randn(4, 3, 16, 16, requires_grad=True)
    logits = nets.discriminator(images, exact=True)
    (gradient,) = torch.autograd.grad(logits.sum(), images, create_graph=True)
    gradient.square().sum().backward()
    assert not graphs
    assert all(p.grad is not None for p in nets.discriminator.blocks[0].parameters() if p.ndim > 1)
