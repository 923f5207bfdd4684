"""The shard format, byte for byte."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from dreamdistill.shared.core.errors import ConfigError
from dreamdistill.shared.core.records import write_record_file
from dreamdistill.shared.data.images import encode_image
from dreamdistill.shared.models.identity import ClassifierRecord
from dreamdistill.shared.shards.contract import Sample
from dreamdistill.shared.shards.folder import ShardFolder
from dreamdistill.shared.shards.manifest import Manifest, ShardPlan, load_manifest
from dreamdistill.shared.shards.records import CommitRecord
from dreamdistill.shared.shards.verification import verify
from dreamdistill.shared.shards.writer import write_info, write_shard

TEACHER = ClassifierRecord(
    name="t", weights=None, sha256="0" * 64, mean=(0.5,), std=(0.5,), image_size=8, num_classes=3, class_names=()
)
PLAN = ShardPlan(number=0, first_image=0, count=5, round="0" * 64, format="png")
SAMPLES = [
    Sample(
        image=encode_image(torch.arange(64 * i, 64 * i + 64).remainder(256).to(torch.uint8).view(1, 8, 8), "png"),
        logits=np.array([i, 0.5, -1], np.float16),
        target=i % 3,
    )
    for i in range(5)
]


def record(**files: Any) -> CommitRecord:
    return CommitRecord(**files, seed=1, seconds=0.0, worker="w", losses={}, agreement=1.0, class_loss=0.0, clipped=0.0)


def write(folder: Path, number: int = 0, samples: list[Sample] = SAMPLES) -> CommitRecord:
    """Write a shard of the manifest in the folder, or of the one that :func:`make_manifest` makes there."""
    manifest = load_manifest(folder) if (folder / "manifest.json").exists() else make_manifest(folder)
    return write_shard(folder, list(manifest.shards())[number], samples, commit=record)


def make_manifest(folder: Path, images: int = 10) -> Manifest:
    empty = Manifest(teacher=TEACHER, rounds=())
    manifest = empty.with_round(
        empty.next_round(recipe={"name": "r"}, images=images, shard_size=5, format="png", student=None, batch=5)
    )
    manifest.save(folder)
    return manifest


def test_the_bytes_of_the_tar_never_change(tmp_path: Path) -> None:
    samples = [replace(sample, image=b"not really a png" * (i + 1)) for i, sample in enumerate(SAMPLES)]
    written = write(tmp_path, samples=samples)
    assert written.sha256 == hashlib.sha256((tmp_path / "000000.tar").read_bytes()).hexdigest()
    assert written.sha256 == "90959999f62c8fb09cb5ce891c85a8ee74e28615e21a662d599ffd2c66293c23"


def test_members_of_the_tar_with_their_order_and_headers(tmp_path: Path) -> None:
    write(tmp_path, number=1)
    with tarfile.open(tmp_path / "000001.tar") as tar:
        members = tar.getmembers()
        assert [m.name for m in members[:5]] == [
            "00000005.png",
            "00000005.logits.npy",
            "00000005.target.npy",
            "00000005.cls",
            "00000006.png",
        ]
        assert len(members) == 20
        assert {(m.mtime, m.uid, m.gid, m.uname, m.gname, m.mode) for m in members} == {(0, 0, 0, "", "", 0o444)}
        contents = [file.read() for m in members[4:8] if (file := tar.extractfile(m)) is not None]
    assert contents[0] == SAMPLES[1].image
    logits, target = (np.load(io.BytesIO(data)) for data in contents[1:3])
    assert logits.dtype == np.float16
    assert logits.tolist() == [1, 0.5, -1]
    assert target.dtype == np.int64
    assert target == 1
    assert contents[3] == b"1"


def test_the_index_has_the_position_of_each_member(tmp_path: Path) -> None:
    write(tmp_path)
    data = (tmp_path / "000000.tar").read_bytes()
    header, *lines = (tmp_path / "000000.idx").read_text().splitlines()
    assert header == "v1.2 5"
    fields = lines[2].split()
    assert fields[0::4] == ["png", "logits.npy", "target.npy", "cls"]
    assert fields[3] == "00000002.png"
    offset, size = int(fields[1]), int(fields[2])
    assert data[offset : offset + size] == SAMPLES[2].image


def test_the_index_is_the_same_as_dalis_own(tmp_path: Path) -> None:
    wds2idx = pytest.importorskip("wds2idx", reason="DALI is not installed")
    write(tmp_path)
    with wds2idx.IndexCreator(str(tmp_path / "000000.tar"), str(tmp_path / "dali.idx"), verbose=False) as creator:
        creator.create_index()
    assert (tmp_path / "dali.idx").read_text().split() == (tmp_path / "000000.idx").read_text().split()


def test_a_writer_that_fails_leaves_nothing(tmp_path: Path) -> None:
    def broken():
        yield SAMPLES[0]
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        write_shard(tmp_path, PLAN, broken(), commit=record)
    assert list(tmp_path.iterdir()) == []


def test_a_shard_without_its_commit_record_does_not_count(tmp_path: Path) -> None:
    make_manifest(tmp_path)
    write(tmp_path, 0)
    write(tmp_path, 1)
    (tmp_path / "000001.json").unlink()
    folder = ShardFolder.open(tmp_path)
    assert folder.num_samples == 5
    assert folder.num_planned == 10
    assert verify(tmp_path)[0] == "shard 000001 has not been made"


def test_samples_are_read_as_they_were_written(tmp_path: Path) -> None:
    make_manifest(tmp_path)
    write(tmp_path)
    read = list(ShardFolder.open(tmp_path).samples(next(ShardFolder.open(tmp_path).plans())))
    assert [s.image for s in read] == [s.image for s in SAMPLES]
    assert [s.target for s in read] == [0, 1, 2, 0, 1]
    assert all(np.array_equal(a.logits, b.logits) for a, b in zip(read, SAMPLES, strict=True))


def test_the_next_round_follows_the_last(tmp_path: Path) -> None:
    manifest = make_manifest(tmp_path, images=12)
    second = manifest.next_round(
        recipe={"name": "other"}, images=7, shard_size=5, format="png", student="ab" * 32, batch=5
    )
    assert (second.first_shard, second.first_image, second.num_shards) == (3, 12, 2)
    assert [(p.number, p.first_image, p.count) for p in second.shards()] == [(3, 12, 5), (4, 17, 2)]
    manifest.with_round(second).save(tmp_path)
    assert load_manifest(tmp_path) == manifest.with_round(second)


def test_a_manifest_of_another_version_is_refused(tmp_path: Path) -> None:
    write_record_file(tmp_path / "manifest.json", make_manifest(tmp_path), schema=99)
    with pytest.raises(ConfigError, match="another version \\(schema 99, not 4\\)"):
        load_manifest(tmp_path)


def test_a_folder_of_the_first_version_is_refused_in_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text('{\n "schema": 2,\n "teacher": {"name": "digits_cnn"},\n "rounds": []\n}\n')
    with pytest.raises(ConfigError, match="another version \\(schema 2, not 4\\): make the shards again"):
        load_manifest(tmp_path)


def test_info_lists_the_complete_shards(tmp_path: Path) -> None:
    manifest = make_manifest(tmp_path)
    write(tmp_path)
    write_info(tmp_path, manifest)
    split = json.loads((tmp_path / "_info.json").read_text())["splits"]["train"]
    assert split == {"name": "train", "num_samples": 5, "filenames": ["000000.tar"], "shard_lengths": [5]}
