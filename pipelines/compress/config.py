"""What ``di-run compress`` takes. Knows no torch, so that ``--help`` is quick."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...invert.config import InvertConfig
from ...prune.config import UNITS, PruneConfig
from ...shared.core.config import StageConfig, from_mapping, same_as, setting
from ...shared.core.errors import ConfigError, nearest
from ...shared.export.config import Export

FILE = "compress.yaml"  # in the output folder: the pipeline that was chosen
IMAGES, SMALL, EXPORTED = "images", "small", "onnx"  # its stages
_TEACHER = ("teacher", "weights", "num_classes", "mean", "std", "image_size", "class_names")


@dataclass(frozen=True, slots=True, kw_only=True)
class CompressConfig(StageConfig):
    """One's own network, made smaller and exported."""

    teacher: str = same_as(InvertConfig, "teacher")
    weights: str | None = same_as(InvertConfig, "weights")
    num_classes: int | None = same_as(InvertConfig, "num_classes")
    mean: tuple[float, ...] | None = same_as(InvertConfig, "mean")
    std: tuple[float, ...] | None = same_as(InvertConfig, "std")
    image_size: int | None = same_as(InvertConfig, "image_size")
    class_names: Path | None = same_as(InvertConfig, "class_names", group="Options")
    target: str = setting("macs=0.5", help="what is left: macs=0.5, params=0.5 or latency=0.5; or what goes: ratio=0.3")
    minutes: float = setting(
        30.0, help="about how long all of it may take; images and steps are chosen by that", above=0
    )
    eval: str | None = same_as(PruneConfig, "eval")
    out: Path = setting(Path("runs/compress"), help="folder for the images, the networks, the files and the report")
    flip: bool = setting(True, help="mirror images at random; not for digits and letters")
    normalize: bool = same_as(Export, "normalize")
    latency_batch: int = same_as(PruneConfig, "latency_batch")
    workers: int | None = same_as(InvertConfig, "workers", advanced=True)

    @property
    def budget(self) -> tuple[str, float]:
        """The option of di-prune that the target stands for, and its value."""
        option, _, share = self.target.partition("=")
        if option not in UNITS:
            raise ConfigError(
                f"--target {self.target} must be one of {', '.join(f'{name}=0.5' for name in UNITS)}"
                f"{nearest(option, UNITS)}"
            )
        return option, getattr(from_mapping(PruneConfig, {option: share}), option)

    @property
    def teacher_options(self) -> dict[str, Any]:
        """How the teacher is loaded: the options of di-invert that were given."""
        given = {name: getattr(self, name) for name in _TEACHER}
        return {name: value for name, value in given.items() if value is not None}

    def check(self) -> None:
        _ = self.budget  # raises ConfigError for what is no budget
