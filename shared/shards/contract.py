"""What the bytes of a whole shard must be. Written shards are read back by these rules, and nothing else is accepted.

The tar is USTAR with members in one order and headers that hold nothing but name, size and checksum. So each reader
sees the same members in it: Python's, webdataset's and DALI's would disagree on links, extensions or a second name.
The index (DALI's v1.2) follows from the tar.
"""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from ..data.image_header import check_image_header
from ..models.identity import ClassifierRecord
from .manifest import ShardPlan

LABELS = ("logits.npy", "target.npy", "cls")  # the members of a sample after its image
BLOCK, RECORD = tarfile.BLOCKSIZE, tarfile.RECORDSIZE


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One sample as it is stored.

    Attributes:
        image: the encoded image file.
        logits: the teacher's logits for the image as decoded from ``image``; float16, shape (K,).
        target: the class for which the image was made.
    """

    image: bytes
    logits: np.ndarray
    target: int


@dataclass(frozen=True, slots=True)
class Member:
    """A file in a tar: its name, and where its data begins and how long it is, in bytes."""

    name: str
    offset: int
    size: int


class SampleError(ValueError):
    """A sample is not as it must be."""

    def __init__(self, key: str, reason: object) -> None:
        super().__init__(f"sample {key}: {reason}")


def sample_key(plan: ShardPlan, position: int) -> str:
    """The key of a sample: its global index."""
    return f"{plan.first_image + position:08d}"


def encode_sample(sample: Sample, format: str) -> Iterator[tuple[str, bytes]]:
    """The members of a sample, in their order: suffix and data."""
    yield format, sample.image
    data = _npy(sample.logits.astype(np.float16)), _npy(np.int64(sample.target)), str(sample.target).encode()
    yield from zip(LABELS, data, strict=True)


def index_line(members: list[Member]) -> str:
    """A sample's line in DALI's index: suffix, offset, size and name of each member."""
    return " ".join(f"{m.name.partition('.')[2]} {m.offset} {m.size} {m.name}" for m in members)


def index_text(lines: list[str]) -> str:
    """DALI's index (v1.2) of a tar."""
    return "\n".join([f"v1.2 {len(lines)}", *lines]) + "\n"


def check_index(text: str, plan: ShardPlan, size: int) -> None:
    """Check an index without its tar: names and order of the members, and places that lie within the tar.

    Args:
        size: of the tar, in bytes.

    Raises:
        ValueError: it is no index of such a shard.
    """
    lines = text.split("\n")
    suffixes = (plan.format, *LABELS)
    if len(lines) != plan.count + 2 or lines[0] != f"v1.2 {plan.count}" or lines[-1]:
        raise ValueError(f"it is no index of {plan.count} lines")
    position = 0
    for number, line in enumerate(lines[1:-1]):
        key, fields, members = sample_key(plan, number), line.split(" "), []
        for suffix, length in zip(suffixes, fields[2::4], strict=False):
            if not (length.isascii() and length.isdigit()):
                break
            members.append(Member(f"{key}.{suffix}", position + BLOCK, int(length)))
            position = members[-1].offset + padded(members[-1].size)
        if len(members) != len(suffixes) or index_line(members) != line or position > size - 2 * BLOCK:
            raise SampleError(key, "its line does not fit the tar")


class TarReader:
    """Reads the samples of a shard's tar, and checks every byte that is not an image's.

    Args:
        data: the tar.
        teacher: says what an image and its logits look like.
    """

    def __init__(self, data: memoryview, plan: ShardPlan, teacher: ClassifierRecord) -> None:
        self.data = data
        self.plan = plan
        self.teacher = teacher
        self.lines: list[str] = []  # of the index, as far as the samples were read
        self._logits_head = _npy(np.zeros(teacher.num_classes, np.float16))[: -2 * teacher.num_classes]
        self._target_head = _npy(np.int64(0))[:-8]

    def samples(self) -> Iterator[Sample]:
        """All samples, in their order.

        Raises:
            SampleError: a sample is damaged.
            ValueError: the end of the tar is.
        """
        position = 0
        for number in range(self.plan.count):
            key = sample_key(self.plan, number)
            try:
                members = []
                for suffix in (self.plan.format, *LABELS):
                    member = self._member(position, f"{key}.{suffix}")
                    members.append(member)
                    position = member.offset + padded(member.size)
                sample = self._sample(*(bytes(self.data[m.offset : m.offset + m.size]) for m in members))
            except ValueError as error:
                raise SampleError(key, error) from error
            self.lines.append(index_line(members))
            yield sample
        end = -(-(position + 2 * BLOCK) // RECORD) * RECORD
        if len(self.data) != end or not _is_zero(self.data[position:]):
            raise ValueError("there is something after the last sample")

    def _member(self, position: int, name: str) -> Member:
        header = bytes(self.data[position : position + BLOCK])
        if header.rstrip(b"\0") == b"":
            raise ValueError("the tar ends before it")
        digits = header[124:135]
        size = int(digits, 8) if digits.isdigit() else -1
        end = position + BLOCK + padded(size)
        if size < 0 or header != tar_header(name, size):
            raise ValueError(f"the tar has another member than {name} here")
        if end > len(self.data) or not _is_zero(self.data[position + BLOCK + size : end]):
            raise ValueError(f"{name} is cut off or has data behind its end")
        return Member(name, position + BLOCK, size)

    def _sample(self, image: bytes, logits: bytes, target: bytes, text: bytes) -> Sample:
        teacher = self.teacher
        check_image_header(image, format=self.plan.format, channels=teacher.channels, size=teacher.image_size)
        head = len(self._logits_head)
        if not logits.startswith(self._logits_head) or len(logits) != head + 2 * teacher.num_classes:
            raise ValueError(f"the logits are not {teacher.num_classes} float16 numbers")
        if not target.startswith(self._target_head) or len(target) != len(self._target_head) + 8:
            raise ValueError("the target is no int64 number")
        sample = Sample(
            image=image,
            logits=np.frombuffer(logits, np.float16, offset=head).copy(),
            target=int.from_bytes(target[-8:], "little", signed=True),
        )
        check_labels(sample.logits[None], np.array([sample.target]), teacher)
        if text != str(sample.target).encode():
            raise ValueError("the class in words is not the target")
        return sample


def check_labels(logits_NK: np.ndarray, targets_N: np.ndarray, teacher: ClassifierRecord) -> None:
    """Refuse the labels of samples that are not those of such a teacher.

    Raises:
        ValueError: the logits are not (N, K) finite float16 numbers, or a target is not in 0..K-1.
    """
    classes = teacher.num_classes
    if logits_NK.dtype != np.float16 or logits_NK.shape != (len(targets_N), classes):
        raise ValueError(f"the logits are {logits_NK.dtype} {logits_NK.shape[1:]}, not float16 ({classes},)")
    if not np.isfinite(logits_NK).all():
        raise ValueError("the logits are not finite")
    if wrong := [int(target) for target in targets_N if not 0 <= target < classes]:
        raise ValueError(f"the target {wrong[0]} does not lie in 0..{classes - 1}")


def tar_header(name: str, size: int) -> bytes:
    """The header of :func:`member_info`, eight times as fast."""
    header = bytearray(_HEADER)
    header[: len(name)] = name.encode()
    header[124:136] = b"%011o\0" % size
    header[148:156] = b"%06o\0 " % (sum(header) + 8 * ord(" "))
    return bytes(header)


def member_info(name: str, size: int) -> tarfile.TarInfo:
    """A member as the standard library writes it, without time and owner."""
    info = tarfile.TarInfo(name)
    info.size = size
    info.mode = 0o444
    return info


def padded(size: int) -> int:
    """Bytes that data of this size takes in a tar."""
    return -(-size // BLOCK) * BLOCK


_HEADER = member_info("", 0).tobuf(tarfile.USTAR_FORMAT)
_HEADER = _HEADER[:148] + bytes(8) + _HEADER[156:]  # without the checksum


def _is_zero(data: memoryview) -> bool:
    return bytes(data).count(0) == len(data)


def _npy(array: np.ndarray | np.int64) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    return buffer.getvalue()
