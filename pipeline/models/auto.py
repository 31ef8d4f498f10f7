"""Settings that a family derives from the data where the configuration leaves them open."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from pipeline.config.run import RunConfig
from pipeline.contracts import ImageSpec
from pipeline.models.stylegan2.auto import auto_settings

AUTO: Mapping[str, Callable[[Any, ImageSpec], dict[str, dict[str, Any]]]] = {"stylegan2": auto_settings}


def with_auto_settings(config: RunConfig, spec: ImageSpec) -> RunConfig:
    """Returns `config` with the settings that its family derives from the data; explicit settings are kept.

    The result depends on `config` and `spec` alone, so that it is the same at every start of a run.
    """
    rule = AUTO.get(config.family.name)
    changes = {}
    for section, values in rule(config.family, spec).items() if rule else ():
        given = getattr(config, section)
        open_keys = {key: value for key, value in values.items() if key not in given.model_fields_set}
        changes[section] = type(given).model_validate({**given.model_dump(), **open_keys})
    return config.model_copy(update=changes)
