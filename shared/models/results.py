"""Result folders of distill and prune: one run each, finished when its ``report.json`` is there.

config.yaml    the resolved configuration
metrics.jsonl  one line for each epoch
checkpoint.pt  while the run is under way
model.*        see :func:`~.checkpoints.save_model`
report.json    written last
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from ..core.config import StageConfig, fingerprint, to_mapping
from ..core.errors import ConfigError, DreamError
from ..core.files import remove_stale_temporaries, write_text
from .checkpoints import MODEL_JSON, MODEL_WEIGHTS

REPORT, CONFIG, METRICS, CHECKPOINT = "report.json", "config.yaml", "metrics.jsonl", "checkpoint.pt"
_OWN_FILES = (REPORT, CONFIG, METRICS, CHECKPOINT, MODEL_JSON, MODEL_WEIGHTS)
# Settings that say where and how to run, not what the result is.
_NOT_IDENTITY = ("out", "overwrite", "device", "shards", "rounds", "init", "teacher", "weights", "code", "eval")


@dataclass(frozen=True, slots=True, kw_only=True)
class ResultFolder:
    """The folder of one run.

    Attributes:
        config: the run's configuration; its ``out`` is the folder.
        identity: sha256 of all that determines the result; a folder keeps to one.
    """

    config: StageConfig
    identity: str

    @classmethod
    def open(cls, config: StageConfig, *inputs: Any) -> ResultFolder:
        """The folder of a configuration and its inputs (identities of shards and teacher). Writes nothing yet.

        Raises:
            ConfigError: it holds another run, and the configuration does not say ``overwrite``.
        """
        settings = {key: value for key, value in to_mapping(config).items() if key not in _NOT_IDENTITY}
        folder = cls(config=config, identity=fingerprint([settings, *inputs]))
        if not config.overwrites and (config.out / CONFIG).exists() and folder._recorded() != folder.identity:
            raise ConfigError(
                f"{config.out} holds a run with other settings: --overwrite deletes it, another --out leaves it alone"
            )
        return folder

    def begin(self) -> None:
        """Make the folder ready for a new run, or to resume one.

        Raises:
            ConfigError: it cannot be made.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigError(f"cannot make the folder {self.path}: {error.strerror}") from error
        remove_stale_temporaries(self.path)
        if self.config.overwrites:
            for name in _OWN_FILES:
                (self.path / name).unlink(missing_ok=True)
        record = {"identity": self.identity, **to_mapping(self.config)}
        write_text(self.path / CONFIG, yaml.safe_dump(record, sort_keys=False))

    @property
    def path(self) -> Path:
        return self.config.out

    @property
    def checkpoint(self) -> Path:
        return self.path / CHECKPOINT

    def report(self) -> dict[str, Any] | None:
        """The report of the finished run; None while there is none, or where it is to be overwritten.

        Raises:
            DreamError: it is damaged.
        """
        path = self.path / REPORT
        if self.config.overwrites or not path.exists():
            return None
        try:
            return json.loads(path.read_text())
        except ValueError as error:
            raise DreamError(f"{path} is damaged; run again with --overwrite") from error

    def has_model(self) -> bool:
        """Whether the network is saved already, and not to be overwritten."""
        return not self.config.overwrites and (self.path / MODEL_JSON).exists()

    def write_metrics(self, lines: list[dict[str, Any]]) -> None:
        write_text(self.path / METRICS, "".join(json.dumps(line) + "\n" for line in lines))

    def training_seconds(self) -> float:
        """Seconds of all epochs so far, over all the calls that they took."""
        path = self.path / METRICS
        lines = path.read_text().splitlines() if path.exists() else []
        return round(sum(json.loads(line)["seconds"] for line in lines), 3)

    def finish(self, report: Mapping[str, Any]) -> None:
        """Write the report, which finishes the run, and delete the checkpoint, which is no longer needed."""
        write_text(self.path / REPORT, json.dumps(report, indent=1) + "\n")
        self.checkpoint.unlink(missing_ok=True)

    def _recorded(self) -> str | None:
        try:
            return yaml.safe_load((self.path / CONFIG).read_text()).get("identity")
        except (yaml.YAMLError, AttributeError):
            return None
