"""Outputs of other projects' networks, kept as a few numbers, so that drift shows without their code.

A file is `{"peer", "commit", "cases": [...]}`. A case says how to build our network, how to fill it and its
inputs (`filling`), how to call it, and what the authors' code gave for the same weights and inputs.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from pydantic import TypeAdapter
from torch import Tensor, nn

from pipeline.config.families import FamilyConfig
from pipeline.contracts import ImageSpec, Net, Verdict
from pipeline.models.registry import build_family
from tools.research.parity.filling import Rule, drawn

SAMPLES = 24
BATCH = 32


@dataclass(frozen=True)
class RecordedNetwork:
    """name: of the case. family: its config's keys. spec: of the images. network: which of the two. rules:
    of the weights, by our names. inputs: shape of each in order, drawn as "input.0", ...; "labelled": then
    labels 0, 1, ... of the classes. call: further arguments of ours. given: mean, std, largest and sampled
    values of the authors' output. training: in that mode, with the batch's statistics. part: of a tuple that
    ours gives, the place of the output; if that is a tuple again, a place in it, and so on."""

    name: str
    family: Mapping[str, Any]
    spec: Mapping[str, Any]
    network: Net
    rules: Sequence[Rule]
    inputs: Sequence[Sequence[int]]
    labelled: bool = False
    call: Mapping[str, Any] = field(default_factory=dict)
    given: Mapping[str, Any] = field(default_factory=dict)
    training: bool = False
    part: Sequence[int] = (0,)

    def tensors(self) -> list[Tensor]:
        """The inputs: images or latents, then labels [N] if there are any."""
        drawings = [drawn(f"input.{i}", shape) for i, shape in enumerate(self.inputs)]
        if self.labelled:
            drawings.append(torch.arange(self.inputs[0][0]) % self.spec["classes"])
        return drawings

    def ours(self) -> nn.Module:
        """Our network, filled."""
        config: FamilyConfig = TypeAdapter(FamilyConfig).validate_python(dict(self.family))
        spec = TypeAdapter(ImageSpec).validate_python(dict(self.spec))
        networks = build_family(config, spec, batch_size=BATCH).networks()
        network = networks[self.network].train(self.training).requires_grad_(False)
        for name, tensor in network.state_dict(keep_vars=True).items():
            if tensor.is_floating_point():
                tensor.copy_(drawn(name, tensor.shape, self.rules))
        return network

    @torch.no_grad()
    def output(self) -> Tensor:
        """What our network gives."""
        result = self.ours()(*self.tensors(), exact=True, **self.call)
        result = result.logits if isinstance(result, Verdict) else result
        for place in self.part if isinstance(result, tuple) else ():
            result = result[place]
        output: Tensor = result
        return output


def summary(output: Tensor) -> dict[str, Any]:
    """mean, std and largest absolute value of a tensor, and values at places spread over it."""
    flat = output.detach().double().flatten()
    places = [(k * 2654435761) % len(flat) for k in range(1, SAMPLES + 1)]
    return {
        "shape": list(output.shape),
        "mean": float(flat.mean()),
        "std": float(flat.std(unbiased=False)),
        "largest": float(flat.abs().max()),
        "values": {str(place): float(flat[place]) for place in places},
    }


def drift(output: Tensor, given: Mapping[str, Any]) -> float:
    """How far `output` is from a recorded one, relative to its largest value; inf for another shape."""
    measured = summary(output)
    if measured["shape"] != given["shape"]:
        return float("inf")
    far = [abs(measured[key] - given[key]) for key in ("mean", "std", "largest")]
    far += [abs(measured["values"][place] - value) for place, value in given["values"].items()]
    return float(max(far) / given["largest"])


def load(path: Path) -> list[RecordedNetwork]:
    """The cases of a file."""
    return [RecordedNetwork(**case) for case in json.loads(path.read_text())["cases"]]


def save(path: Path, peer: str, checkout: Path, cases: Iterable[RecordedNetwork]) -> None:
    """Writes the cases of a peer, with the checkout's commit."""
    body = {"peer": peer, "commit": commit_of(checkout), "cases": [asdict(case) for case in cases]}
    path.write_text(json.dumps(body, indent=1) + "\n")


def commit_of(checkout: Path) -> str:
    """Returns the commit of a checkout that git knows, else "unknown"."""
    asked = ["git", "-C", str(checkout), "rev-parse", "HEAD"]
    commit = subprocess.run(asked, capture_output=True, text=True, check=False).stdout.strip()
    return commit or "unknown"
