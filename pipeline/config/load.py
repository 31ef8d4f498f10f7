"""Reads a run's configuration: YAML files and overrides in, one frozen `RunConfig` out."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from pipeline.config.cluster import ClusterConfig
from pipeline.config.explain import explain, line
from pipeline.config.run import RunConfig
from pipeline.config.shipped import CLUSTERS, locate
from pipeline.config.sources import FORMAT, Key, Layer, ScalarLoader, read_layers, read_override
from pipeline.errors import UserError

MAY_CHANGE = (
    "length",
    "data.path",  # the run remembers the digest of its shards instead
    "data.second",
    "data.workers",
    "data.prefetch",
    "data.cache",
    "data.cache_gb",
    "data.store_patience_seconds",
    "data.store_silence_seconds",
    "family.standing_batches",  # how the average is sampled
    "family.standing_batch_size",
    "start",  # the weights are the run's own after its first checkpoint
    "engine.kind",  # checkpoints hold the same under every engine
    "engine.stage",
    "engine.bucket_mb",
    "engine.graphs",
    "engine.timeout_minutes",
    "engine.silence_seconds",
    "engine.device",
    "engine.deterministic",
    "engine.compile",
    "engine.recompute",
    "ops.backend",
    "checkpoints",
    "snapshots",
    "averages",  # they follow training, which knows nothing of them
    "stop",
    "report",
)
"""Keys and sections whose values a run may change when it goes on: they decide how long, how fast and how
visibly it computes, but not what."""


_FIXTURE_FILE = re.compile(r"fixtures\..+\.file")

Schema = TypeVar("Schema", bound=BaseModel)


class _Dumper(yaml.SafeDumper):
    """Quotes every string that YAML 1.1 or `ScalarLoader` would read as something else."""


for _first, _resolvers in ScalarLoader.yaml_implicit_resolvers.items():
    for _tag, _pattern in _resolvers:
        _Dumper.add_implicit_resolver(_tag, _pattern, [_first])


def load_config(path: str | Path, overrides: Sequence[str] = ()) -> RunConfig:
    """The configuration in `path`, with `key.path=value` overrides, checked.

    path: a file, or the name of one that comes with hrgan, such as stylegan2-256. A file may `inherit:`
    others, which it then overrides. Errors are UserErrors that name file (or override), key and value and
    what is allowed, one line each.
    """
    layers = [*read_layers(locate(Path(path))), *map(read_override, overrides)]
    return _validated(RunConfig, _merged(layers), layers)


def load_cluster(path: str | Path) -> ClusterConfig:
    """The cluster file in `path`, or of that name; `inherit:` and errors are as `load_config`'s."""
    layers = read_layers(locate(Path(path), CLUSTERS))
    return _validated(ClusterConfig, _merged(layers), layers)


def _merged(layers: Sequence[Layer]) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for layer in layers:
        tree = _over(tree, layer.tree)
    return tree


def _over(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Two trees as one. Sections are joined key by key; any other value (a list too) replaces the old one."""
    joined = dict(below)
    for name, value in above.items():
        if isinstance(value, Mapping):
            beneath = below.get(name)
            joined[name] = _over(beneath if isinstance(beneath, Mapping) else {}, value)
        else:
            joined[name] = value
    return joined


def _validated(schema: type[Schema], tree: dict[str, Any], layers: Sequence[Layer]) -> Schema:
    try:
        config = schema.model_validate(tree)
    except ValidationError as error:
        raise explain(error, schema, tree, layers) from None
    # Python counts booleans among the numbers, so pydantic reads `seed: true` as 1.
    wrong = [
        line(layers, key, value, "must be a number, not true or false")
        for key, value in _leaves(tree)
        if isinstance(value, bool) and not isinstance(_value(config, key), bool)
    ]
    if wrong:
        raise UserError("\n".join(wrong))
    return config


def _leaves(tree: Mapping[str, Any], prefix: Key = ()) -> Iterator[tuple[Key, Any]]:
    for name, value in tree.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, (*prefix, name))
        else:
            yield (*prefix, name), value


def _value(config: BaseModel, key: Key) -> object:
    value: object = config
    for name in key:
        value = value[name] if isinstance(value, Mapping) else getattr(value, name)
    return value


def dump_config(config: RunConfig) -> str:
    """The resolved configuration as YAML: every key, defaults included; `read_dump` reads it back."""
    content = FORMAT.stamped(config.model_dump(mode="json"))
    text: str = yaml.dump(content, Dumper=_Dumper, sort_keys=False, allow_unicode=True)
    return text


def read_dump(path: str | Path) -> RunConfig:
    """A configuration that `dump_config` wrote."""
    return load_config(path)


def identity(config: RunConfig) -> dict[str, Any]:
    """The settings that decide what is computed, as `{"batch.size": 32, ...}`: equal at every start of a run.

    Everything except `MAY_CHANGE` and the paths of fixtures, which their digests stand for; engine.computes
    only where it differs from what engine.precision asks for.
    """
    leaves = {".".join(key): value for key, value in _leaves(config.model_dump(mode="json"))}
    if config.engine.computed == config.engine.precision:
        del leaves["engine.computes"]
    return {
        name: value
        for name, value in leaves.items()
        if not any(name == free or name.startswith(f"{free}.") for free in MAY_CHANGE)
        and not _FIXTURE_FILE.fullmatch(name)
    }


def digest(config: RunConfig) -> str:
    """The sha256 of `identity`, in hex: configurations of one digest may continue each other's runs."""
    canonical = json.dumps(identity(config), sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(canonical.encode()).hexdigest()


def differing_keys(old: RunConfig, new: RunConfig) -> list[str]:
    """`batch.size: 32 -> 64`, and so on: each key of `identity` that differs, in the schema's order."""
    before, after = identity(old), identity(new)
    return [
        f"{name}: {_json(before.get(name))} -> {_json(after.get(name))}"
        for name in dict.fromkeys([*before, *after])
        if before.get(name) != after.get(name)
    ]


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)
