"""The bytes of a shard: what the strict reader accepts, and that it refuses everything else."""

from __future__ import annotations

import io
import tarfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dreamdistill.shared.data.image_header import check_image_header
from dreamdistill.shared.shards.contract import (
    Sample,
    TarReader,
    check_index,
    index_text,
    member_info,
    tar_header,
)
from dreamdistill.shared.shards.folder import ShardFolder
from dreamdistill.shared.shards.records import shard_path


@pytest.mark.parametrize(("name", "size"), [("00000012.logits.npy", 148), ("99999999.png", 8**11 - 1), ("1.cls", 0)])
def test_headers_are_those_of_the_standard_library(name: str, size: int) -> None:
    assert tar_header(name, size) == member_info(name, size).tobuf(tarfile.USTAR_FORMAT)


class Shard:
    """The first shard of a folder, to be changed in memory."""

    def __init__(self, folder: Path) -> None:
        self.shards = ShardFolder.open(folder)
        self.plan = next(self.shards.plans())
        self.path = shard_path(folder, self.plan.number, "tar")
        self.index = shard_path(folder, self.plan.number, "idx").read_text()

    def read(self, data: bytes) -> list[Sample]:
        return list(TarReader(memoryview(data), self.plan, self.shards.manifest.teacher).samples())

    def refuses(self, data: bytes, message: str) -> None:
        with pytest.raises(ValueError, match=message):
            self.read(data)

    def rewritten(self, change: dict[str, bytes], **header: object) -> bytes:
        """The tar with the data of some members replaced, or with their headers changed."""
        buffer = io.BytesIO()
        with tarfile.open(self.path) as old, tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as new:
            for member in old:
                file = old.extractfile(member)
                assert file is not None
                data = change.get(member.name, file.read())
                if member.name in change:
                    for name, value in header.items():
                        setattr(member, name, value)
                member.size = len(data)
                new.addfile(member, io.BytesIO(data))
        return buffer.getvalue()


@pytest.fixture
def shard(shards: Path) -> Shard:
    return Shard(shards)


def npy(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=True)
    return buffer.getvalue()


def png(mode: str, size: tuple[int, int]) -> bytes:
    buffer = io.BytesIO()
    Image.new(mode, size).save(buffer, "PNG")
    return buffer.getvalue()


def test_it_reads_what_was_written_and_finds_its_index(shard: Shard) -> None:
    reader = TarReader(memoryview(shard.path.read_bytes()), shard.plan, shard.shards.manifest.teacher)
    samples = list(reader.samples())
    assert len(samples) == 20
    assert index_text(reader.lines) == shard.index
    assert shard.rewritten({}) == shard.path.read_bytes()


@pytest.mark.parametrize(
    ("member", "data", "message"),
    [
        ("logits.npy", npy(np.zeros(9, np.float16)), "not 10 float16 numbers"),
        ("logits.npy", npy(np.zeros(10, np.float32)), "not 10 float16 numbers"),
        ("logits.npy", npy(np.zeros((1, 10), np.float16)), "not 10 float16 numbers"),
        ("logits.npy", npy(np.array([{}] * 10)), "not 10 float16 numbers"),
        ("logits.npy", npy(np.full(10, np.nan, np.float16)), "not finite"),
        ("logits.npy", npy(np.full(10, np.inf, np.float16)), "not finite"),
        ("logits.npy", b"", "not 10 float16 numbers"),
        ("target.npy", npy(np.array(10)), "target 10 does not lie in 0..9"),
        ("target.npy", npy(np.array(-1)), "target -1"),
        ("target.npy", npy(np.array(2.0)), "no int64"),
        ("cls", b"7", "not the target"),
        ("png", png("L", (9, 8)), "9x8 pixels of 1 channels, not 8x8 of 1"),
        ("png", png("RGB", (8, 8)), "8x8 pixels of 3 channels"),
        ("png", png("P", (8, 8)), "another kind"),
        ("png", png("I;16", (8, 8)), "another kind"),
        ("png", b"BM" + bytes(60), "no PNG"),
        ("png", b"", "no PNG"),
    ],
)
def test_a_sample_of_another_kind_is_refused_by_its_key(shard: Shard, member: str, data: bytes, message: str) -> None:
    shard.refuses(shard.rewritten({f"00000002.{member}": data}), f"sample 00000002: .*{message}")


def test_members_that_readers_would_disagree_on_are_refused(shard: Shard) -> None:
    target = {"00000002.cls": b"2"}
    other = "sample 00000002: the tar has another member"
    link = {"type": tarfile.SYMTYPE, "linkname": "/etc/passwd"}
    for header in (link, {"mode": 0o777}, {"mtime": 1}, {"uname": "me"}):
        shard.refuses(shard.rewritten(target, **header), other)
    shard.refuses(shard.rewritten(target, name="../00000002.cls"), other)
    shard.refuses(shard.rewritten(target, name="x" * 90 + "/" + "y" * 90), other)  # by the prefix of USTAR


def test_the_end_of_the_tar(shard: Shard) -> None:
    data = shard.path.read_bytes()
    shard.refuses(data + bytes(10240), "after the last sample")
    shard.refuses(data[:-1] + b"\1", "after the last sample")
    shard.refuses(data[:-512], "after the last sample")
    shard.refuses(data[:5000], "sample 00000001: the tar ends before it|cut off|another member")
    shard.refuses(b"", "sample 00000000: the tar ends before it")


def test_data_behind_the_end_of_a_member_is_refused(shard: Shard) -> None:
    data = bytearray(shard.path.read_bytes())
    data[int(shard.index.split()[3]) + int(shard.index.split()[4])] = 1  # behind the first image
    shard.refuses(bytes(data), "00000000.png is cut off or has data behind its end")


def test_the_index_alone_is_checked_against_plan_and_size(shard: Shard) -> None:
    size = shard.path.stat().st_size
    check_index(shard.index, shard.plan, size)
    lines = shard.index.splitlines(keepends=True)
    swapped = "".join([lines[0], lines[2], lines[1], *lines[3:]])
    first = lines[1].split()
    far = " ".join([first[0], str(2**40), *first[2:]]) + "\n"
    for text in (
        swapped,
        "".join(lines[:-1]),
        "".join([lines[0], far, *lines[2:]]),
        shard.index.replace("v1.2", "v1.1"),
        shard.index.replace(f"png {first[1]} ", f"png {first[1]}  "),
        shard.index.replace(f" {first[2]} ", f" -{first[2]} ", 1),
        shard.index.replace(f" {first[2]} ", f" 0{first[2]} ", 1),
        shard.index + "\n",
        "",
    ):
        with pytest.raises(ValueError, match=r"no index|does not fit the tar"):
            check_index(text, shard.plan, size)
    with pytest.raises(ValueError, match="sample 00000019"):
        check_index(shard.index, shard.plan, size - 10240)
    with pytest.raises(ValueError, match="sample 00000007"):
        check_index(shard.index, replace(shard.plan, first_image=7), size)


@pytest.mark.parametrize("mode", ["L", "RGB"])
@pytest.mark.parametrize("progressive", [False, True])
def test_jpeg_headers(mode: str, progressive: bool) -> None:
    buffer = io.BytesIO()
    Image.new(mode, (24, 16)).save(buffer, "JPEG", progressive=progressive, comment=b"x" * 3000)
    data, channels = buffer.getvalue(), len(mode)
    with pytest.raises(ValueError, match=f"24x16 pixels of {channels} channels"):
        check_image_header(data, format="jpg", channels=channels, size=24)
    for part in (data[:10], data[2:], b"", b"\xff\xd8" + bytes(100), png(mode, (24, 24))):
        with pytest.raises(ValueError, match="no JPEG"):
            check_image_header(part, format="jpg", channels=channels, size=24)
