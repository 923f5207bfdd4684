"""A shard folder on disk, opened for reading.

manifest.json   see :mod:`.manifest`
000000.tar      for each sample 00000000.png|jpg, .logits.npy (float16, K), .target.npy (int64), .cls (text)
000000.idx      DALI's index (v1.2): the position of each member in the tar
000000.json     the commit record, written last: without it, the shard does not count
_info.json      an index for timm
score.json      the score of the images, if it was measured (see :mod:`.quality`)
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from PIL import Image

from ..core.config import fingerprint
from ..core.errors import ConfigError, DreamError, one_line
from ..data.images import open_image
from .contract import Sample, SampleError, TarReader, sample_key
from .manifest import Manifest, ShardPlan, load_manifest
from .records import COMMIT, CommitRecord, mean_of, read_records, shard_path

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardFolder:
    """A folder with at least one complete shard. Presence and size of its tars were checked.

    Attributes:
        records: number -> commit record of each complete shard, in the folder's order.
    """

    path: Path
    manifest: Manifest
    records: dict[int, CommitRecord]

    @classmethod
    def open(cls, path: Path, *, rounds: int | None = None) -> ShardFolder:
        """Open a shard folder for reading.

        Args:
            rounds: read only this many rounds, from the first; None reads all.

        Raises:
            ConfigError: the folder is missing, is not a shard folder, has no complete shard, or has fewer rounds.
            DreamError: a tar is missing, or its size is not the one in its commit record.
        """
        manifest = load_manifest(path)
        if rounds is not None:
            if rounds > len(manifest.rounds):
                raise ConfigError(f"--rounds {rounds} is more than {path} has: use at most {len(manifest.rounds)}")
            manifest = replace(manifest, rounds=manifest.rounds[:rounds])
        records = read_records(path, manifest.shards())
        if not records:
            raise ConfigError(f"{path} has no complete shard yet: run the same di-invert again to go on")
        for number, record in records.items():
            if problem := size_problem(path, number, record):
                raise DreamError(f"{problem}; {again(path, number)}")
        return cls(path=path, manifest=manifest, records=records)

    @property
    def num_samples(self) -> int:
        """Number of images in the complete shards."""
        return sum(record.count for record in self.records.values())

    def num_batches(self, size: int) -> int:
        """Number of batches of ``size`` samples; the last may be smaller."""
        return -(-self.num_samples // size)

    @property
    def identity(self) -> str:
        """sha256 of the folder's content: the teacher, the rounds, and which of their shards are complete."""
        rounds = [item.fingerprint for item in self.manifest.rounds]
        return fingerprint([self.manifest.teacher.sha256, rounds, list(self.records)])

    @property
    def agreement(self) -> float:
        """Share of images, 0 to 1, that the teacher assigns to their target."""
        return mean_of(self.records.values(), "agreement")

    @property
    def clipped(self) -> float:
        """Share of pixel values, 0 to 1, that storing clipped to the range of pixels."""
        return mean_of(self.records.values(), "clipped")

    @property
    def num_planned(self) -> int:
        """Number of images in all shards of all rounds, complete or not."""
        return sum(plan.count for plan in self.manifest.shards())

    def plans(self) -> Iterator[ShardPlan]:
        """The complete shards, in the folder's order."""
        return (plan for plan in self.manifest.shards() if plan.number in self.records)

    def files(self, suffix: str) -> list[str]:
        """Paths of the complete shards' ``tar`` or ``idx`` files, in the folder's order."""
        return [str(shard_path(self.path, number, suffix)) for number in self.records]

    def samples(self, plan: ShardPlan) -> Iterator[Sample]:
        """The samples of one shard as stored, in their order.

        Raises:
            DreamError: the tar is damaged; the message names the sample.
        """
        try:
            data = memoryview(shard_path(self.path, plan.number, "tar").read_bytes())
            yield from TarReader(data, plan, self.manifest.teacher).samples()
        except (OSError, ValueError) as error:
            raise damaged(self, plan.number, one_line(error)) from error

    def images(self) -> Iterator[tuple[Image.Image, int]]:
        """All images, decoded and converted to RGB, with their targets, in the folder's order.

        Raises:
            DreamError: as :meth:`decoded`.
        """
        return ((image, sample.target) for image, sample in self.decoded(rgb_image))

    def decoded(self, decode: Callable[[bytes], T]) -> Iterator[tuple[T, Sample]]:
        """All images, decoded one by one, with their samples, in the folder's order.

        Args:
            decode: raises ValueError for an image that is damaged.

        Raises:
            DreamError: as :meth:`samples`, or an image cannot be decoded.
        """
        for plan in self.plans():
            for position, sample in enumerate(self.samples(plan)):
                yield self.decode(decode, sample.image, plan, position), sample

    def decode(self, decode: Callable[[bytes], T], data: bytes, plan: ShardPlan, position: int) -> T:
        """One image of a shard, decoded. An error names the sample: see :meth:`decoded`."""
        try:
            return decode(data)
        except ValueError as error:
            raise damaged(self, plan.number, str(SampleError(sample_key(plan, position), error))) from error


def rgb_image(data: bytes) -> Image.Image:
    """Decode an image file to RGB.

    Raises:
        ValueError: it is damaged.
    """
    return open_image(data).convert("RGB")


def damaged(folder: ShardFolder, number: int, problem: str) -> DreamError:
    """The error for a shard that cannot be read."""
    return DreamError(f"{shard_path(folder.path, number, 'tar')}: {problem}; {again(folder.path, number)}")


def again(folder: Path, number: int) -> str:
    """What to do about a damaged shard."""
    return f"delete {shard_path(folder, number, COMMIT)} and run di-invert again to make the shard again"


def size_problem(folder: Path, number: int, record: CommitRecord) -> str | None:
    """What is wrong with the presence or the size of a shard's tar, in one sentence; None if nothing is."""
    tar = shard_path(folder, number, "tar")
    if not tar.is_file():
        return f"{tar} is missing"
    if tar.stat().st_size != record.bytes:
        return f"{tar} is {tar.stat().st_size} bytes long, but was {record.bytes} when it was written"
    return None
