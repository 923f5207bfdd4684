"""The export stage of a pipeline: a network leaves as a file, as by ``di-model export``, in a folder of its own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..shared.core.config import StageConfig, changes_to, setting
from ..shared.export.config import SUFFIXES, Export, ExportConfig

if TYPE_CHECKING:
    from ..shared.export.export import ExportReport  # which imports torch


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportStageConfig(StageConfig):
    """What an export stage takes; ``changes`` holds the settings of the export that are not at their defaults."""

    out: Path = setting(Path("runs/export"), help="folder for the file")
    model: str = setting(help="what to export: a saved model's folder, or any name that di-invert --teacher takes")
    changes: Mapping[str, Any] = changes_to(Export, preset=Export())

    @property
    def export(self) -> Export:
        return Export().changed(self.changes)

    @property
    def shards(self) -> Path | None:
        return self.export.shards

    @property
    def eval(self) -> str | None:
        return self.export.eval

    @property
    def file(self) -> Path:
        return self.out / f"model{SUFFIXES[self.export.format]}"

    @property
    def as_command(self) -> ExportConfig:
        """The options of ``di-model export MODEL`` that write the same file."""
        return ExportConfig(out=self.file, code=self.code, device=self.device, changes=self.changes)

    def check(self) -> None:
        _ = self.export  # raises ConfigError for what does not go together


def run(config: ExportStageConfig) -> ExportReport:
    """Export the network, unless an earlier call has done it.

    Raises:
        ConfigError: the network, the shards or the images cannot be used, or the folder holds another run.
        DreamError: what was exported computes something else.
    """
    from ..shared.core.device import pick_device  # imported here, since they import torch
    from ..shared.export.export import ExportReport, export_model
    from ..shared.models.classifier import load_model
    from ..shared.models.named_files import name_files
    from ..shared.models.results import ResultFolder
    from ..shared.shards.folder import ShardFolder

    name_files(config.code)
    model = load_model(config.model, code=config.code, device=pick_device(config.device))
    shards = ShardFolder.open(config.shards).identity if config.shards else None
    folder = ResultFolder.open(config, model=model.sha256, shards=shards)
    finished = folder.report(ExportReport)
    if finished is not None and finished.eval == config.eval and Path(finished.file).is_file():
        return finished
    folder.begin()
    report = export_model(model, config.file, config.export)
    folder.finish(report)
    return report
