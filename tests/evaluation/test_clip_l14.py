"""CLIP's tower: the published one's shapes, torch-fidelity's arithmetic, Pillow's pixels; both ways to name
its weights; and files that are something else."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor
from torch_fidelity.feature_extractor_clip import CLIPVisual

from pipeline.errors import UserError
from pipeline.evaluation.features.clip_l14 import L14, ClipL14Extractor, Shape, Tower, as_clip
from pipeline.evaluation.features.extractors import fetch_weights, make_extractors
from pipeline.evaluation.features.weights import ExtractorChoice
from pipeline.evaluation.settings import Settings
from pipeline.randomness import seeded

SMALL = Shape(side=28, patch=14, width=128, blocks=2, size=6)
CPU = torch.device("cpu")


def reference(shape: Shape) -> torch.nn.Module:
    """torch-fidelity's, which is another implementation."""
    visual = CLIPVisual(shape.size, shape.side, shape.blocks, shape.width, shape.patch).visual
    found: torch.nn.Module = visual
    return found


def random_state(shape: Shape = SMALL) -> dict[str, Tensor]:
    generator = seeded(0)
    names = reference(shape).state_dict()
    return {
        f"visual.{name}": 0.1 * torch.randn(value.shape, generator=generator) + ("ln_" in name)
        for name, value in names.items()
    }


def choice(path: Path, state: dict[str, Tensor], **more: Tensor) -> ExtractorChoice:
    save_file({**state, **more}, path)
    return ExtractorChoice(None, path, hashlib.sha256(path.read_bytes()).hexdigest())


def as_hugging_face(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Written down from their names, not from ours."""
    head = {name.removeprefix("visual."): value for name, value in state.items()}
    found = {
        "vision_model.embeddings.class_embedding": head["class_embedding"],
        "vision_model.embeddings.patch_embedding.weight": head["conv1.weight"],
        "vision_model.embeddings.position_embedding.weight": head["positional_embedding"],
        "vision_model.embeddings.position_ids": torch.arange(5)[None],
        "visual_projection.weight": head["proj"].T.contiguous(),
    }
    for kind in ("weight", "bias"):
        found[f"vision_model.pre_layrnorm.{kind}"] = head[f"ln_pre.{kind}"]
        found[f"vision_model.post_layernorm.{kind}"] = head[f"ln_post.{kind}"]
        for number in range(SMALL.blocks):
            block, layer = f"transformer.resblocks.{number}", f"vision_model.encoder.layers.{number}"
            three = head[f"{block}.attn.in_proj_{kind}"].chunk(3)
            for which, value in zip(("q", "k", "v"), three, strict=True):
                found[f"{layer}.self_attn.{which}_proj.{kind}"] = value.contiguous()
            found[f"{layer}.self_attn.out_proj.{kind}"] = head[f"{block}.attn.out_proj.{kind}"]
            for theirs, ours in (
                ("layer_norm1", "ln_1"),
                ("layer_norm2", "ln_2"),
                ("mlp.fc1", "mlp.c_fc"),
                ("mlp.fc2", "mlp.c_proj"),
            ):
                found[f"{layer}.{theirs}.{kind}"] = head[f"{block}.{ours}.{kind}"]
    return found


def test_it_has_the_published_towers_parameters() -> None:
    """Names and shapes of the whole network, without its numbers."""
    with torch.device("meta"):
        ours, theirs = Tower(L14), reference(L14)
    assert {name: value.shape for name, value in ours.state_dict().items()} == {
        name: value.shape for name, value in theirs.state_dict().items()
    }
    assert sum(value.numel() for value in ours.parameters()) == 304_293_888  # as open_clip counts them


def test_its_embeddings_are_torch_fidelitys(tmp_path: Path) -> None:
    state = random_state()
    extractor = ClipL14Extractor(choice(tmp_path / "clip.safetensors", state), CPU, SMALL)
    images = torch.randint(0, 256, (3, 3, 40, 40), generator=seeded(1), dtype=torch.uint8)
    theirs = reference(SMALL).eval()
    theirs.load_state_dict({name.removeprefix("visual."): value for name, value in state.items()})
    with torch.inference_mode():
        expected = theirs(as_clip(images, SMALL.side))
    features, logits = extractor(images)
    assert logits is None
    assert features.shape == (3, extractor.size)
    torch.testing.assert_close(features, expected, rtol=1e-4, atol=1e-5)
    # Each image by itself, too.
    torch.testing.assert_close(extractor(images[1:2])[0], features[1:2], rtol=1e-4, atol=1e-5)


def test_hugging_faces_names_are_the_same_weights(tmp_path: Path) -> None:
    state = random_state()
    images = torch.randint(0, 256, (2, 3, 28, 28), generator=seeded(2), dtype=torch.uint8)
    more = {"text_model.final_layer_norm.weight": torch.ones(4), "logit_scale": torch.ones(1)}
    choices = (
        choice(tmp_path / "a.safetensors", state, positional_embedding=torch.ones(7)),  # the text's
        choice(tmp_path / "b.safetensors", as_hugging_face(state), **more),
    )
    ours, theirs = (ClipL14Extractor(one, CPU, SMALL)(images)[0] for one in choices)
    assert torch.equal(ours, theirs)


def test_half_precision_on_disk_is_computed_in_float32(tmp_path: Path) -> None:
    half = {name: value.half() for name, value in random_state().items()}
    extractor = ClipL14Extractor(choice(tmp_path / "clip.safetensors", half), CPU, SMALL)
    found = extractor(torch.zeros(1, 3, 28, 28, dtype=torch.uint8))[0]
    assert found.dtype == torch.float32


@pytest.mark.parametrize("size", [(32, 32), (40, 64), (600, 500)])
def test_images_are_what_pillow_makes_of_their_middle(size: tuple[int, int]) -> None:
    height, width = size
    pixels = torch.randint(0, 256, (height, width, 3), generator=seeded(3), dtype=torch.uint8)
    least = min(size)
    box = ((width - least) // 2, (height - least) // 2, (width + least) // 2, (height + least) // 2)
    theirs = Image.fromarray(pixels.numpy()).crop(box).resize((336, 336), Image.Resampling.BICUBIC)
    expected = np.asarray(theirs).astype(np.float64) / 255
    mean, deviation = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
    ours = as_clip(pixels.permute(2, 0, 1)[None], 336)[0].permute(1, 2, 0).double().numpy()
    apart = np.abs(ours * np.array(deviation) + np.array(mean) - expected) * 255
    assert apart.max() < 1.01
    assert apart.mean() < 0.01


def refused(act: Any) -> str:
    with pytest.raises(UserError) as caught:
        act()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_what_is_something_else_is_refused_in_a_line(tmp_path: Path) -> None:
    path, state = tmp_path / "clip.safetensors", random_state()
    good = choice(path, state)

    def made(one: ExtractorChoice, shape: Shape = SMALL) -> Any:
        return lambda: ClipL14Extractor(one, CPU, shape)

    assert "sha256 is" in refused(made(ExtractorChoice(None, path, "0" * 64)))
    assert "visual.conv1" not in refused(made(good, L14))
    assert "class_embedding is missing, unexpected or of another shape" in refused(made(good, L14))
    missing = {name: value for name, value in state.items() if name != "visual.proj"}
    assert "proj is missing" in refused(made(choice(path, missing)))
    deeper = random_state(Shape(28, 14, 128, 3, 6))
    assert "resblocks.2" in refused(made(choice(path, deeper)))
    path.write_bytes(b"not tensors")
    digest = hashlib.sha256(b"not tensors").hexdigest()
    assert "not a safetensors file" in refused(made(ExtractorChoice(None, path, digest)))
    lost = refused(made(ExtractorChoice(None, tmp_path / "lost", digest)))
    assert lost == f"{tmp_path}/lost: weights of CLIP's ViT-L/14 at 336 pixels: No such file or directory"


@pytest.mark.parametrize("named", [{}, {"path": Path("clip.safetensors")}])
def test_its_weights_have_to_be_named(named: dict[str, Any]) -> None:
    """By file and sha256: none are published here, and none are fetched."""
    settings = Settings(("fid",), extractor=ExtractorChoice("clip-l14", **named))
    lack = "--extractor-digest SHA256" if named else "--extractor-weights FILE"
    for act in (make_extractors, fetch_weights):
        assert refused(lambda act=act: act(settings)).startswith(f"{lack}: not given; needed for weights of")
