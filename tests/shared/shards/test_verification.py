"""Damage of a shard folder is found: what ``verify`` says, what is remembered, and what no checksum can hide."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from damage import damage, make_folder
from forging import forge, vouch

from dreamdistill.shared.core.errors import DreamError
from dreamdistill.shared.core.user_state import state_folder
from dreamdistill.shared.shards.folder import ShardFolder
from dreamdistill.shared.shards.verification import check_indexes, verify, verify_once

EVERY = 499  # of the ways to damage the small folder; tests/benchmarks/damage.py tries all


def test_a_sample_of_all_flips_and_cuts_is_found(tmp_path: Path) -> None:
    make_folder(tmp_path / "shards")
    found = damage(tmp_path / "shards", every=EVERY)
    assert found["missed"] == []
    assert found["flips"] > 150
    assert found["cuts"] > 20


def swap_lines(folder: Path) -> None:
    index = folder / "000000.idx"
    lines = index.read_text().splitlines(keepends=True)
    index.write_text("".join([lines[0], lines[2], lines[1], *lines[3:]]))
    vouch(folder)


def swap_shards(folder: Path) -> None:
    for suffix in ("tar", "idx", "json"):
        first, second = (folder / f"{number:06d}.{suffix}" for number in (0, 1))
        first.rename(folder / "away")
        second.rename(first)
        (folder / "away").rename(second)


def swap_shards_with_fitting_records(folder: Path) -> None:
    swap_shards(folder)
    for number in (0, 1):
        forge(folder / f"{number:06d}.json", lambda record, number=number: record.update(number=number))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (swap_lines, ["000000.idx is not the index of its tar"]),
        (swap_shards, ["000000.json is the record of another shard", "000001.json is the record of another shard"]),
        (swap_shards_with_fitting_records, ["000000.tar: sample 00000000: ", "000001.tar: sample 00000020: "]),
        (lambda f: shutil.copy(f / "000001.tar", f / "000007.tar"), ["000007.tar belongs to no shard"]),
        (lambda f: (f / "000001.json").unlink(), ["shard 000001 has not been made", "_info.json does not list"]),
        (lambda f: (f / "_info.json").unlink(), ["_info.json is missing"]),
        (lambda f: (f / "score.json").write_text("{}"), ["score.json is damaged"]),
        (
            lambda f: forge(f / "manifest.json", lambda m: m["rounds"][0]["recipe"].update(lr=9.0)),
            ["round 0 of the manifest has another fingerprint"],
        ),
        (
            lambda f: forge(f / "000000.json", lambda r: r.update(round="0" * 64)),
            ["000000.json is the record of another"],
        ),
        (
            lambda f: forge(f / "000000.json", lambda r: r.update(agreement=1.5)),
            ["000000.json is damaged (agreement must"],
        ),
    ],
)
def test_what_fits_its_checksum_and_is_wrong(shards: Path, change: Callable[[Path], object], says: list[str]) -> None:
    assert verify(shards) == []
    change(shards)
    problems = verify(shards)
    assert len(problems) == len(says), problems
    for found, wanted in zip(problems, says, strict=True):
        assert wanted in found


def test_a_folder_is_read_once_and_again_where_it_changed(shards: Path) -> None:
    def checked() -> list[int]:
        seen: list[int] = []
        verify_once(ShardFolder.open(shards), seen.append)
        return seen

    assert checked() == [1, 2]
    assert checked() == []
    tar = shards / "000001.tar"
    times = tar.stat()
    tar.write_bytes(tar.read_bytes())  # the same bytes
    os.utime(tar, ns=(times.st_atime_ns, times.st_mtime_ns))  # whose time was put back
    assert checked() == [1]
    data = bytearray(tar.read_bytes())
    data[600] ^= 1
    tar.write_bytes(data)
    os.utime(tar, ns=(times.st_atime_ns, times.st_mtime_ns))
    with pytest.raises(DreamError, match=r"000001\.tar does not have the sha256"):
        checked()


def test_what_is_remembered_does_not_come_with_the_folder(shards: Path, tmp_path: Path) -> None:
    before = sorted(path.name for path in shards.iterdir())
    verify_once(ShardFolder.open(shards))
    assert sorted(path.name for path in shards.iterdir()) == before
    copy = shutil.copytree(shards, tmp_path / "copy", copy_function=shutil.copy2)
    seen: list[int] = []
    verify_once(ShardFolder.open(copy), seen.append)
    assert seen == [1, 2]


def test_a_state_folder_that_cannot_be_written_is_no_error(
    shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "file"))
    verify_once(ShardFolder.open(shards))
    assert not state_folder("verified").exists()


def test_without_reading_the_tars_the_indexes_are_checked(shards: Path) -> None:
    opened = ShardFolder.open(shards)
    check_indexes(opened)
    swap_lines(shards)
    with pytest.raises(DreamError, match=r"000000\.idx: sample 00000000: its line does not fit the tar"):
        check_indexes(ShardFolder.open(shards))
