"""The manifest of a shard folder: which teacher, which recipes, which shards (``manifest.json``).

One round is one run of ``di-invert`` with one recipe; ``--append`` adds another to the same folder. The shards of a
round, their image counts and the keys of their samples follow from the round alone, so any worker can make any shard.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ..core.config import fingerprint
from ..core.errors import ConfigError, DreamError, one_line
from ..core.places import MANIFEST, is_address, is_saved_model
from ..core.records import OtherSchemaError, check_range, check_sha256, read_record_file, write_record_file
from ..models.identity import ClassifierRecord

SCHEMA = 4  # of all record files in a shard folder
FORMATS = ("png", "jpg")
MAX_IMAGES, MAX_SHARDS = 10**9, 10**6  # of a folder; more are taken for damage


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardPlan:
    """One shard to make.

    Attributes:
        first_image: global index of its first image.
        count: how many images it holds.
        round: fingerprint of its round.
        format: of its images.
    """

    number: int
    first_image: int
    count: int
    round: str
    format: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Execution:
    """How an optimisation step is run. It changes what a step costs, and what it computes by rounding alone.

    Attributes:
        compile: through torch.compile.
        precision: number format of the networks, ``float32`` or ``bfloat16`` (autocast).
    """

    compile: bool
    precision: str

    def __post_init__(self) -> None:
        if self.precision not in ("float32", "bfloat16"):
            raise ValueError(f"there is no precision {self.precision!r:.40}")


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

    def __post_init__(self) -> None:
        check_range("images", self.images, 1, MAX_IMAGES)
        check_range("shard_size", self.shard_size, 1, MAX_IMAGES)
        check_range("batch", self.batch, 1, MAX_IMAGES)
        check_range("shards", self.num_shards, 1, MAX_SHARDS)
        check_sha256("fingerprint", self.fingerprint)
        if self.student is not None:
            check_sha256("student", self.student)
        if self.format not in FORMATS:
            raise ValueError(f"there is no format {self.format!r:.40}")
        if not isinstance(self.recipe.get("name"), str):
            raise ValueError("the recipe has no name")

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
                round=self.fingerprint,
                format=self.format,
            )

    def expected_fingerprint(self, teacher: ClassifierRecord) -> str:
        """What the fingerprint must be, from the other values."""
        return fingerprint(
            {
                "teacher": teacher.identity(),
                "recipe": self.recipe,
                "images": self.images,
                "shard_size": self.shard_size,
                "format": self.format,
                "student": self.student,
                "batch": self.batch,
            }
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """The teacher and the rounds, oldest first."""

    teacher: ClassifierRecord
    rounds: tuple[Round, ...]

    @property
    def recipe_names(self) -> list[str]:
        """The names of the rounds' recipes, each once."""
        return list(dict.fromkeys(str(item.recipe["name"]) for item in self.rounds))

    def __post_init__(self) -> None:
        shards = images = 0
        for number, item in enumerate(self.rounds):
            if (item.first_shard, item.first_image) != (shards, images):
                raise ValueError(f"round {number} does not begin where the one before it ends")
            shards, images = shards + item.num_shards, images + item.images
        check_range("shards", shards, 0, MAX_SHARDS)
        check_range("images", images, 0, MAX_IMAGES)

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
        """The round that would follow, with its place in the folder; rounds do not overlap.

        Raises:
            ConfigError: there would be more shards or images than a folder may have.
        """
        last = self.rounds[-1] if self.rounds else None
        try:
            added = Round(
                recipe=recipe,
                fingerprint="0" * 64,
                first_shard=last.first_shard + last.num_shards if last else 0,
                first_image=last.first_image + last.images if last else 0,
                images=images,
                shard_size=shard_size,
                format=format,
                student=student,
                batch=batch,
                execution=None,
            )
            added = replace(added, fingerprint=added.expected_fingerprint(self.teacher))
            self.with_round(added)
        except ValueError as error:
            raise ConfigError(f"too many for one folder: {error}; use a larger --shard-size, or two folders") from error
        return added

    def with_round(self, added: Round) -> Manifest:
        return replace(self, rounds=(*self.rounds, added))

    def with_execution(self, number: int, execution: Execution | None) -> Manifest:
        changed = replace(self.rounds[number], execution=execution)
        return replace(self, rounds=(*self.rounds[:number], changed, *self.rounds[number + 1 :]))

    def save(self, folder: Path) -> None:
        write_record_file(folder / MANIFEST, self, schema=SCHEMA)


def _why_none(folder: Path) -> str:
    """Why there are no shards where a user says that they are, and what to do, as the end of a sentence."""
    if is_saved_model(folder):
        return f"is a saved model: make shards of it with di-invert --teacher {folder} --out shards"
    if is_address(folder):
        return "is an address: copy the folder to this machine, and name it there"
    what = "is empty or no shard folder" if folder.is_dir() else "does not exist"
    return f"{what}: make shards with di-invert --teacher NAME --out {folder}"


def load_manifest(folder: Path) -> Manifest:
    """Read ``manifest.json``.

    Raises:
        ConfigError: the folder is no shard folder, or has another schema version.
        DreamError: the manifest is damaged.
    """
    path = folder / MANIFEST
    try:
        manifest = read_record_file(path, Manifest, schema=SCHEMA)
        check_range("rounds", len(manifest.rounds), 1, MAX_SHARDS)
        return manifest
    except FileNotFoundError as error:
        raise ConfigError(f"{folder} {_why_none(folder)}") from error
    except NotADirectoryError as error:
        raise ConfigError(f"{folder} is a file; pass the folder of the shards") from error
    except OtherSchemaError as error:
        raise ConfigError(
            f"{folder} was written by another version (schema {error.found}, not {SCHEMA}):"
            " make the shards again with di-invert, in another folder or with its own --overwrite"
        ) from error
    except (OSError, ValueError) as error:
        raise DreamError(
            f"{path} is damaged ({one_line(error)}); make the shards again with di-invert --overwrite"
        ) from error
