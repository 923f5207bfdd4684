"""Result folders of distill, prune and extend: one run each, finished when its ``report.json`` is there.

config.yaml    the resolved configuration
metrics.jsonl  one line for each epoch
checkpoint.pt  while the run is under way
tensorboard/   event files, where they are asked for
model.*        see :func:`~.checkpoints.save_model`
README.md      the model card (:mod:`.card_file`)
report.json    written last
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

import yaml

from ..core.config import StageConfig, differences, fingerprint, to_mapping
from ..core.errors import ConfigError, DreamError
from ..core.files import atomic_write, make_folder, read_limited, remove_file, remove_stale_temporaries, write_text
from ..core.places import MODEL_JSON
from ..core.records import from_json, parse_json
from ..core.yaml_files import load_yaml
from .card_file import CARD, may_replace
from .checkpoints import MODEL_WEIGHTS
from .epochs import METRICS, Epoch, read_epochs

REPORT, CONFIG, CHECKPOINT = "report.json", "config.yaml", "checkpoint.pt"
_OWN_FILES = (REPORT, CONFIG, METRICS, CHECKPOINT, MODEL_JSON, MODEL_WEIGHTS)
# Settings that say where and how to run, not what the result is.
_NOT_IDENTITY = (
    "out",
    "overwrite",
    "device",
    "shards",
    "rounds",
    "init",
    "teacher",
    "model",
    "weights",
    "code",
    "eval",
    "verify",
    "new",
    "tensorboard",
)
_LARGEST = 2**20  # bytes; a report or a configuration has a few hundred
# This line stands after the archive of a checkpoint. Readers of archives do not mind it.
_END = re.compile(rb"\ncheckpoint (?P<identity>[0-9a-f]{64}) (?P<sha256>[0-9a-f]{64})\n")
_END_BYTES = len("\ncheckpoint  \n") + 2 * 64

INPUTS = "inputs"  # key of the configuration file, beside the settings

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class ResultFolder:
    """The folder of one run.

    Attributes:
        config: the run's configuration; its ``out`` is the folder.
        inputs: identities of what the run works on, by name: of the shards, say.
        identity: sha256 of all that determines the result; a folder keeps to one.
    """

    config: StageConfig
    inputs: dict[str, str | None]
    identity: str

    @classmethod
    def open(cls, config: StageConfig, **inputs: str | None) -> ResultFolder:
        """The folder of a configuration and its inputs. Writes nothing yet.

        Raises:
            ConfigError: it holds another run, or one that cannot be read, and the configuration does not say
                ``overwrite``.
        """
        settings = _identifying(to_mapping(config))
        folder = cls(config=config, inputs=inputs, identity=fingerprint([settings, *inputs.values()]))
        if not config.overwrites and (config.out / CONFIG).exists() and folder._recorded() != folder.identity:
            raise ConfigError(
                f"{config.out} holds a run with other settings{folder._differences()}: --overwrite deletes it, another"
                " --out leaves it alone"
            )
        return folder

    def begin(self) -> None:
        """Make the folder ready for a new run, or to resume one.

        Raises:
            ConfigError: it cannot be made.
        """
        make_folder(self.path)
        remove_stale_temporaries(self.path)
        if self.config.overwrites:
            for path in [*(self.path / name for name in _OWN_FILES), *self.events.glob("events.out.tfevents.*")]:
                remove_file(path)
            if may_replace(self.path / CARD):
                remove_file(self.path / CARD)
        record = {"identity": self.identity, **to_mapping(self.config), INPUTS: self.inputs}
        write_text(self.path / CONFIG, yaml.safe_dump(record, sort_keys=False))

    @property
    def path(self) -> Path:
        return self.config.out

    @property
    def events(self) -> Path:
        """The folder of the event files."""
        return self.path / "tensorboard"

    @property
    def checkpoint(self) -> Path:
        return self.path / CHECKPOINT

    def report(self, cls: type[T]) -> T | None:
        """The report of the finished run; None while there is none, or where it is to be overwritten.

        Args:
            cls: the dataclass that :meth:`finish` had.

        Raises:
            DreamError: it is damaged.
        """
        path = self.path / REPORT
        if self.config.overwrites or not path.exists():
            return None
        try:
            return from_json(cls, parse_json(read_limited(path, _LARGEST)))
        except ValueError as error:
            raise DreamError(f"{path} is damaged; run again with --overwrite") from error

    def has_model(self) -> bool:
        """Whether the network is saved already, and not to be overwritten."""
        return not self.config.overwrites and (self.path / MODEL_JSON).exists()

    def read_checkpoint(self, limit: int) -> bytes | None:
        """What :meth:`write_checkpoint` wrote, None if there is none.

        Args:
            limit: largest size, in bytes.

        Raises:
            DreamError: it is damaged, or of a run with other settings.
        """
        try:
            data = read_limited(self.checkpoint, limit)
        except FileNotFoundError:
            return None
        except ValueError as error:
            raise self.damaged_checkpoint() from error
        content, found = data[:-_END_BYTES], _END.fullmatch(data[-_END_BYTES:])
        if found is None or hashlib.sha256(content).hexdigest() != found["sha256"].decode():
            raise self.damaged_checkpoint()
        if found["identity"].decode() != self.identity:
            raise DreamError(
                f"{self.checkpoint} is of a run with other settings; delete it, and the training begins anew"
            )
        return content

    def damaged_checkpoint(self) -> DreamError:
        return DreamError(f"{self.checkpoint} is damaged; run again with --overwrite")

    def write_checkpoint(self, content: bytes | memoryview) -> None:
        """Write the content, and a line with the run's identity and the content's checksum."""
        with atomic_write(self.checkpoint) as file:
            file.write(content)
            file.write(f"\ncheckpoint {self.identity} {hashlib.sha256(content).hexdigest()}\n".encode())

    def write_metrics(self, epochs: list[Epoch]) -> None:
        write_text(self.path / METRICS, "".join(json.dumps(asdict(epoch)) + "\n" for epoch in epochs))

    def training_seconds(self) -> float:
        """Seconds of all epochs so far, over all the calls that they took.

        Raises:
            DreamError: ``metrics.jsonl`` is damaged.
        """
        try:
            return round(sum(epoch.seconds for epoch in read_epochs(self.path)), 3)
        except ValueError as error:
            path = self.path / METRICS
            raise DreamError(f"{path} is damaged; delete it, and the report will say 0 seconds") from error

    def finish(self, report: Any) -> None:
        """Write the report, a dataclass, which finishes the run: all that the next call has to do is done before."""
        remove_file(self.checkpoint)
        write_text(self.path / REPORT, json.dumps(asdict(report), indent=1) + "\n")

    def _differences(self) -> str:
        """What differs from the run in the folder, in brackets; empty where its configuration does not tell."""
        try:
            before = load_yaml(self.path / CONFIG)
        except ConfigError:
            return ""
        inputs = before.get(INPUTS)
        found = [differences(_identifying(before), to_mapping(self.config))]
        found += [
            f"other {name}"
            for name, identity in self.inputs.items()
            if isinstance(inputs, dict) and name in inputs and inputs[name] != identity
        ]
        text = "; ".join(filter(None, found))
        return f" ({text})" if text else ""

    def _recorded(self) -> str:
        """The identity in the folder's configuration; empty where it has none.

        Raises:
            ConfigError: the configuration cannot be read.
        """
        path = self.path / CONFIG
        try:
            found = re.match(rb"identity: ([0-9a-f]{64})\n", read_limited(path, _LARGEST))
        except ValueError as error:
            raise ConfigError(
                f"{path} is damaged ({error}): --overwrite deletes the run, another --out leaves it alone"
            ) from error
        return found[1].decode() if found else ""


def _identifying(settings: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in settings.items() if name not in _NOT_IDENTITY}
