"""The manifest of a shard folder: which teacher, which recipes, which shards (``manifest.json``).

One round is one run of ``di-invert`` with one recipe; ``--append`` adds another to the same folder. The shards of a
round, their image counts and the keys of their samples follow from the round alone, so any worker can make any shard.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from ..core.config import fingerprint
from ..core.errors import ConfigError, DreamError
from ..core.files import write_text
from ..core.records import from_json
from ..models.identity import ClassifierRecord

MANIFEST = "manifest.json"
SCHEMA = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardPlan:
    """One shard to make: its number, the global index of its first image, and how many images it holds."""

    number: int
    first_image: int
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Execution:
    """How an optimisation step is run. It changes what a step costs, and what it computes by rounding alone.

    Attributes:
        compile: through torch.compile.
        precision: number format of the networks, ``float32`` or ``bfloat16`` (autocast).
    """

    compile: bool
    precision: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """One run's part of the folder.

    Attributes:
        recipe: the resolved settings that determine the images.
        fingerprint: sha256 of teacher, recipe and everything else that determines the bytes.
        first_shard, first_image: where it starts in the folder.
        images, shard_size: how many images in all, and in a full shard.
        format: ``png`` or ``jpg``.
        student: sha256 of the student that an adaptive recipe competes against, or None.
        batch: images optimised together: the recipe's batch size, made smaller where shards then divide evenly.
        execution: how the step was run when the round began, and is run until it is whole; not in the fingerprint.
            None until that is decided.
    """

    recipe: dict[str, Any]
    fingerprint: str
    first_shard: int
    first_image: int
    images: int
    shard_size: int
    format: str
    student: str | None
    batch: int
    execution: Execution | None

    @property
    def num_shards(self) -> int:
        return -(-self.images // self.shard_size)

    def shards(self) -> Iterator[ShardPlan]:
        for index in range(self.num_shards):
            start = index * self.shard_size
            yield ShardPlan(
                number=self.first_shard + index,
                first_image=self.first_image + start,
                count=min(self.shard_size, self.images - start),
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """The teacher and the rounds, oldest first."""

    teacher: ClassifierRecord
    rounds: tuple[Round, ...]

    def shards(self) -> Iterator[ShardPlan]:
        """Every shard of every round, in the folder's order."""
        for item in self.rounds:
            yield from item.shards()

    def next_round(
        self,
        *,
        recipe: dict[str, Any],
        images: int,
        shard_size: int,
        format: str,
        student: str | None,
        batch: int,
    ) -> Round:
        """The round that would follow, with its place in the folder; rounds do not overlap."""
        last = self.rounds[-1] if self.rounds else None
        identity = {
            "teacher": self.teacher.identity(),
            "recipe": recipe,
            "images": images,
            "shard_size": shard_size,
            "format": format,
            "student": student,
            "batch": batch,
        }
        return Round(
            recipe=recipe,
            fingerprint=fingerprint(identity),
            first_shard=last.first_shard + last.num_shards if last else 0,
            first_image=last.first_image + last.images if last else 0,
            images=images,
            shard_size=shard_size,
            format=format,
            student=student,
            batch=batch,
            execution=None,
        )

    def with_round(self, added: Round) -> Manifest:
        return replace(self, rounds=(*self.rounds, added))

    def with_execution(self, number: int, execution: Execution | None) -> Manifest:
        changed = replace(self.rounds[number], execution=execution)
        return replace(self, rounds=(*self.rounds[:number], changed, *self.rounds[number + 1 :]))

    def save(self, folder: Path) -> None:
        record = {"schema": SCHEMA, **asdict(self)}
        text = json.dumps(record, indent=1) + "\n"
        path = folder / MANIFEST
        if not path.exists() or path.read_text() != text:  # a thousand other processes may read it meanwhile
            write_text(path, text)


def load_manifest(folder: Path) -> Manifest:
    """Read ``manifest.json``.

    Raises:
        ConfigError: the folder is no shard folder, or has another schema version.
        DreamError: the manifest is damaged.
    """
    path = folder / MANIFEST
    if not path.is_file():
        what = "is empty or no shard folder" if folder.is_dir() else "does not exist"
        raise ConfigError(f"{folder} {what}: make shards with di-invert --teacher NAME --out {folder}")
    try:
        record = json.loads(path.read_text())
        schema = record.pop("schema") if isinstance(record, dict) else None
        if schema != SCHEMA:
            raise ConfigError(
                f"{folder} was written by another version (schema {schema}, not {SCHEMA}):"
                " make the shards again in another folder, or with --overwrite"
            )
        return from_json(Manifest, record)
    except ConfigError:
        raise
    except (ValueError, KeyError) as error:
        raise DreamError(f"{path} is damaged; make the shards again with --overwrite") from error
