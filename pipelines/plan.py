"""A pipeline file: stages by name, each with the options of its command, in the order they are run.

out: runs/quickstart          # where every stage's result goes: OUT/NAME
eval: digits                  # any other top-level option goes to every stage that has it
stages:
  synthetic:  {stage: invert, teacher: digits_cnn}
  student: {stage: distill, shards: synthetic}     # the name of an earlier stage stands for its folder
  pruned:  {stage: prune, shards: synthetic, ratio: 0.3}
  onnx:    {stage: export, model: pruned, int8: true, shards: synthetic}
  wider:   {stage: extend, shards: synthetic, new: path/to/new_classes}

score: {real: digits}         # measures every shard folder as di-shards score does; {} does so with the teacher alone

``adapt`` is Adaptive DeepInversion: rounds of images in one shard folder, each but the first made against a student
that has learned from the rounds before. It is read as the stages that do it.

  synthetic:  {stage: adapt, rounds: 3, invert: {teacher: digits_cnn}, distill: {epochs: 10}}

  synthetic_1          invert     into OUT/synthetic
  synthetic_student_1  distill    from round 1
  synthetic_2          invert     into OUT/synthetic too, against synthetic_student_1
  synthetic_student_2  distill    from rounds 1 and 2, going on with synthetic_student_1
  synthetic_3          invert     into OUT/synthetic too, against synthetic_student_2
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..distill.config import DistillConfig
from ..distill.extend.config import ExtendConfig
from ..invert.config import InvertConfig
from ..prune.config import PruneConfig
from ..shared.core.config import Settings, StageConfig, from_mapping, setting, settings_of
from ..shared.core.errors import ConfigError, nearest
from ..shared.core.values import coerce
from ..shared.core.yaml_files import load_yaml
from .exporting import ExportStageConfig

STAGES: dict[str, type[StageConfig]] = {
    "invert": InvertConfig,
    "distill": DistillConfig,
    "prune": PruneConfig,
    "extend": ExtendConfig,
    "export": ExportStageConfig,
}
# Options that may name an earlier stage.
_REFERENCES = ("shards", "teacher", "student", "model", "init", "compete_with")
_ADAPT = ("stage", "rounds", "invert", "distill")
_MOST = 1000  # stages of a file
_NAME = re.compile(r"\w[\w .-]{0,99}")  # of a stage: it becomes the name of a folder
_HERE = Path(__file__).parent


def makes_network(kind: str) -> bool:
    """Whether the result of a kind of stage is a saved network: not images, and not a file that runs elsewhere."""
    return kind not in ("invert", "export")


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """One step.

    Attributes:
        name: the file's name for it; the steps that ``adapt`` stands for have names made from its own.
        kind: a key of ``STAGES``.
        round: which round of its shard folder an invert stage makes, counted from 0.
    """

    name: str
    kind: str
    config: Any
    round: int = 0

    @property
    def makes_network(self) -> bool:
        return makes_network(self.kind)


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreConfig(Settings):
    """What measures every shard folder of a pipeline, named as for ``di-shards score``."""

    verifier: str | None = setting(None, help="an independent network")
    verifier_weights: str | None = setting(None, help="its weights")
    real: str | None = setting(None, help="real images to compare with")


@dataclass(frozen=True, slots=True, kw_only=True)
class Pipeline:
    """A whole run.

    Attributes:
        latency_batch: images in a forward pass when the networks' latency is measured at the end.
        score: what to measure the shard folders with; None measures none.
        name: of the file, or of the shipped pipeline, as it was given.
        changes: top-level options that replaced the file's.
    """

    out: Path
    latency_batch: int
    stages: tuple[Stage, ...]
    score: ScoreConfig | None = None
    name: str = "PIPELINE.yaml"
    changes: Mapping[str, Any] = field(default_factory=dict)

    @property
    def shard_folders(self) -> list[Path]:
        """The shard folders that its stages write, each once."""
        return list(dict.fromkeys(stage.config.out for stage in self.stages if stage.kind == "invert"))


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
    stages, score = content.pop("stages", None), content.pop("score", None)
    out = coerce(settings_of(InvertConfig)["out"], content.pop("out", f"runs/{path.stem}"))
    if not isinstance(stages, dict) or not stages:
        raise ConfigError(f"{path} must have 'stages:', each with a name and its options")
    read = _Stages(path=path, shared=content, out=out)
    for stage_name, options in stages.items():
        read.add(stage_name, options)
    known = {"latency_batch"} | {key for stage in read.stages for key in settings_of(type(stage.config))}
    for key in content:
        if key.replace("-", "_") not in known:
            raise ConfigError(f"unknown option {key!r:.80} in {path}{nearest(key, [*known, 'out', 'stages', 'score'])}")
    latency_batch = coerce(settings_of(PruneConfig)["latency_batch"], content.get("latency_batch", 1))
    if score is not None:
        if not isinstance(score, dict):
            raise ConfigError(f"'score:' in {path} must hold the options of di-shards score, or {{}} for none")
        score = from_mapping(ScoreConfig, score, source=f"'score:' of {path}")
    return Pipeline(
        out=out,
        latency_batch=latency_batch,
        score=score,
        stages=tuple(read.stages),
        name=name,
        changes=dict(changes),
    )


class _Stages:
    """The stages of a file as they are read.

    Args:
        shared: top-level options; each goes to every stage that has it.
        out: the folder that holds a folder for each stage's result.
    """

    def __init__(self, path: Path, shared: Mapping[str, Any], out: Path) -> None:
        self.path = path
        self.shared = shared
        self.out = out
        self.stages: list[Stage] = []
        self.folders: dict[str, Path] = {}  # by stage name

    def add(self, name: str, options: Any) -> None:
        kinds = [*STAGES, "adapt"]
        if not _NAME.fullmatch(name):
            raise ConfigError(
                f"stage {name!r:.80} in {self.path} needs another name, for a folder: letters, digits, '_', '-', '.'"
            )
        if not isinstance(options, dict) or options.get("stage") not in kinds:
            raise ConfigError(f"stage {name!r} in {self.path} must say 'stage:', one of {', '.join(kinds)}")
        if options["stage"] == "adapt":
            self._add_adapt(name, options)
        else:
            self._add(name, options["stage"], {key: value for key, value in options.items() if key != "stage"})

    def _add_adapt(self, name: str, options: Mapping[str, Any]) -> None:
        where = f"stage {name!r} in {self.path}"
        for key in options:
            if key not in _ADAPT:
                raise ConfigError(f"unknown option {key!r:.80} of {where}{nearest(key, _ADAPT)}")
        rounds, invert, distill = options.get("rounds"), options.get("invert"), options.get("distill")
        if type(rounds) is not int or rounds < 2:
            raise ConfigError(f"{where} must say 'rounds:', 2 or more: the first is made without a student")
        if not isinstance(invert, dict) or not isinstance(distill, dict):
            raise ConfigError(f"{where} must have 'invert:' and 'distill:', each with the options of its command")
        for section, own in (
            ("invert", {"out", "compete_with", "append"}),
            ("distill", {"out", "shards", "rounds", "init"}),
        ):
            if taken := own & options[section].keys():
                raise ConfigError(f"{min(taken)!r} of {where} is set by adapt itself: leave it out")
        folder = str(self.out / name)
        alone = {key: value for key, value in invert.items() if key.replace("-", "_") != "alpha_compete"}
        self._add(f"{name}_1", "invert", {**alone, "out": folder})
        for number in range(1, rounds):
            student, before = f"{name}_student_{number}", f"{name}_student_{number - 1}"
            # The first may be of another architecture than the teacher; the others go on with it.
            goes_on = {key: value for key, value in distill.items() if key != "student"} | {"init": before}
            learns = distill if number == 1 else goes_on
            self._add(student, "distill", {**learns, "shards": folder, "rounds": number})
            against = {**invert, "out": folder, "append": True, "compete_with": student, "overwrite": False}
            self._add(f"{name}_{number + 1}", "invert", against, round=number)
        self.folders[name] = self.out / name

    def _add(self, name: str, kind: str, options: Mapping[str, Any], round: int = 0) -> None:
        if name in self.folders:
            raise ConfigError(f"{self.path} has two stages {name!r}")
        if len(self.stages) == _MOST:
            raise ConfigError(f"{self.path} has more than {_MOST} stages: divide it into several files")
        known = settings_of(STAGES[kind])
        values = {key: value for key, value in self.shared.items() if key.replace("-", "_") in known}
        values |= {"out": str(self.out / name), **options}
        for key in _REFERENCES:
            if isinstance(values.get(key), str) and values[key] in self.folders:
                values[key] = str(self.folders[values[key]])
        config = from_mapping(STAGES[kind], values, source=f"stage {name!r} of {self.path}")
        self.stages.append(Stage(name=name, kind=kind, config=config, round=round))
        self.folders[name] = config.out
