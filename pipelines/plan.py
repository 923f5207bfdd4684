"""A pipeline file: stages by name, each with the options of its command, in the order they are run.

out: runs/quickstart          # where every stage's result goes: OUT/NAME
eval: digits                  # any other top-level option goes to every stage that has it
stages:
  dreams:  {stage: invert, teacher: digits_cnn}
  student: {stage: distill, shards: dreams}     # the name of an earlier stage stands for its folder
  pruned:  {stage: prune, shards: dreams, ratio: 0.3}
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..distill.config import DistillConfig
from ..invert.config import InvertConfig
from ..prune.config import PruneConfig
from ..shared.config import StageConfig, coerce, from_mapping, load_yaml, settings_of
from ..shared.errors import ConfigError, nearest

STAGES: dict[str, type[StageConfig]] = {"invert": InvertConfig, "distill": DistillConfig, "prune": PruneConfig}
_REFERENCES = ("shards", "teacher", "student")  # options that may name an earlier stage
_HERE = Path(__file__).parent


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """One step: its name in the file, the kind of stage, and its configuration."""

    name: str
    kind: str
    config: Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Pipeline:
    """A whole run. latency_batch: images a forward when the networks' latency is measured at the end."""

    out: Path
    latency_batch: int
    stages: tuple[Stage, ...]


def load_pipeline(name: str, changes: Mapping[str, Any]) -> Pipeline:
    """Read a pipeline file, or one that ships with the project by its name (``quickstart``).

    Args:
        changes: top-level options that replace the file's.

    Raises:
        ConfigError: the file cannot be read, or something in it is unknown; the nearest known name is given.
    """
    path = Path(name)
    shipped = {file.stem: file for file in _HERE.glob("*.yaml")}
    if not path.exists():
        if name not in shipped:
            raise ConfigError(f"there is no pipeline {name!r}{nearest(name, shipped)} (shipped: {', '.join(shipped)})")
        path = shipped[name]
    content = {**load_yaml(path), **changes}
    stages = content.pop("stages", None)
    out = Path(str(content.pop("out", f"runs/{path.stem}")))
    if not isinstance(stages, dict) or not stages:
        raise ConfigError(f"{path} must have 'stages:', each with a name and its options")
    made: list[Stage] = []
    for stage_name, options in stages.items():
        made.append(_stage(path, str(stage_name), options, content, out, [stage.name for stage in made]))
    known = {"latency_batch"} | {key for stage in made for key in settings_of(type(stage.config))}
    for key in content:
        if str(key).replace("-", "_") not in known:
            raise ConfigError(f"unknown option {key!r} in {path}{nearest(str(key), [*known, 'out', 'stages'])}")
    latency_batch = coerce(settings_of(PruneConfig)["latency_batch"], content.get("latency_batch", 1))
    if latency_batch < 1:
        raise ConfigError("--latency-batch must be 1 or more")
    return Pipeline(out=out, latency_batch=latency_batch, stages=tuple(made))


def _stage(path: Path, name: str, options: Any, shared: Mapping[str, Any], out: Path, earlier: list[str]) -> Stage:
    if not isinstance(options, dict) or options.get("stage") not in STAGES:
        raise ConfigError(f"stage {name!r} in {path} must say 'stage:', one of {', '.join(STAGES)}")
    kind = options["stage"]
    known = settings_of(STAGES[kind])
    values = {key: value for key, value in shared.items() if str(key).replace("-", "_") in known}
    values |= {"out": str(out / name)} | {key: value for key, value in options.items() if key != "stage"}
    for key in _REFERENCES:
        if values.get(key) in earlier:
            values[key] = str(out / values[key])
    return Stage(name=name, kind=kind, config=from_mapping(STAGES[kind], values, source=f"stage {name!r} of {path}"))
