"""What the parts of ``di-model`` take. Knows no torch, so that ``--help`` is quick."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..core.config import GENERAL, Settings, changes_to, setting
from ..core.errors import ConfigError
from ..core.files import check_is_file_place

SUFFIXES = {"onnx": ".onnx", "pt2": ".pt2", "state_dict": ".pth"}  # of the file, for each format

_NETWORK = "A network that is no saved model"


def _describing(default: Any = None, **rest: Any) -> Any:
    return setting(default, group=_NETWORK, advanced=True, **rest)


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelConfig(Settings):
    """A model, and where to compute."""

    weights: str | None = _describing(help="weights file, torchvision weights entry, or none for random weights")
    num_classes: int | None = _describing(help="its classes, where its name leaves them open", min=1)
    mean: tuple[float, ...] | None = _describing(help="input mean, R,G,B (or one number: grey images), range 0..1")
    std: tuple[float, ...] | None = _describing(help="input standard deviation, like --mean")
    image_size: int | None = _describing(help="side of the images in pixels", min=1)
    code: tuple[Path, ...] = setting(
        (),
        help="your own Python files that saved models may name, wherever they say that these lie",
        group=GENERAL,
        advanced=True,
    )
    device: str = setting("auto", help="auto, cpu, cuda or cuda:N", group=GENERAL, advanced=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluateConfig(ModelConfig):
    """What ``di-model evaluate`` takes, which cannot do without ``eval``."""

    eval: str | None = setting(None, help="real images with their classes, as for di-distill --eval")
    teacher: str | None = setting(None, help="a network to agree with, named as for di-invert --teacher")
    teacher_weights: str | None = setting(None, help="its weights, as for --weights")
    batch_size: int = setting(256, help="images in a forward pass", min=1, advanced=True)

    def check(self) -> None:
        if self.teacher_weights and not self.teacher:
            raise ConfigError("--teacher-weights needs --teacher, the network to which they belong")


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportConfig(EvaluateConfig):
    """What ``di-model report`` takes."""

    out: Path | None = setting(None, help="HTML to write", unset="FOLDER/report.html")


@dataclass(frozen=True, slots=True, kw_only=True)
class Export(Settings):
    """The file that a network becomes, and what it is measured on."""

    format: str = setting(
        "onnx",
        help="onnx; pt2, for torch.export.load; state_dict: weights, and a Python file that needs torch alone",
        choices=("onnx", "pt2", "state_dict"),
    )
    int8: bool = setting(False, help="an int8 ONNX file too, calibrated on the images of --shards")
    shards: Path | None = setting(None, help="shard folder whose images int8 is calibrated on")
    normalize: bool = setting(False, help="fold the normalisation in: the file takes pixels of 0 to 255")
    batch: str = setting("dynamic", help="images in a forward pass: a number, or dynamic for any")
    eval: str | None = setting(None, help="real images to measure the ONNX files on, as for di-distill --eval")

    @property
    def fixed_batch(self) -> int | None:
        """Images in a forward pass; None for any number."""
        return None if self.batch == "dynamic" else int(self.batch)

    def check(self) -> None:
        if self.batch != "dynamic" and not (self.batch.isascii() and self.batch.isdigit() and int(self.batch) > 0):
            raise ConfigError(f"--batch {self.batch} must be a number of images, or dynamic")
        if self.int8 and self.shards is None:
            raise ConfigError("--int8 needs --shards, the synthetic images that it is calibrated on")
        if self.shards is not None and not self.int8:
            raise ConfigError("--shards goes with --int8, which is calibrated on them")
        if self.int8 and self.format != "onnx":
            raise ConfigError("--int8 goes with --format onnx: ONNX Runtime is what quantises")
        if self.eval and self.format != "onnx":
            raise ConfigError("--eval goes with --format onnx, whose file is measured: leave it out")


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportConfig(ModelConfig):
    """What ``di-model export`` takes."""

    out: Path | None = setting(None, help="file to write", unset="FOLDER/model.onnx, .pt2 or .pth")
    changes: Mapping[str, Any] = changes_to(Export, preset=Export())

    @property
    def export(self) -> Export:
        return Export().changed(self.changes)

    def check(self) -> None:
        _ = self.export  # raises ConfigError for what does not go together


def check_output(path: Path) -> None:
    """Refuse a place where no file can be written, before the work.

    Raises:
        ConfigError: it is a folder or a device, or its folder does not exist.
    """
    check_is_file_place(path)
    if not path.parent.is_dir():
        raise ConfigError(f"there is no folder {path.parent}: make it, or name another --out")
