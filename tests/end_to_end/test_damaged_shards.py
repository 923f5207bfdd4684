"""Damaged shards are refused before they are used, by both loaders, with the file and the sample."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from forging import vouch
from helpers import Di, Fails
from PIL import Image

from dreamdistill.distill.measuring import Agreement
from dreamdistill.shared.core.errors import DreamError
from dreamdistill.shared.models.classifier import load_model
from dreamdistill.shared.shards.contract import tar_header
from dreamdistill.shared.shards.folder import ShardFolder
from dreamdistill.shared.shards.loaders import dali_is_installed
from dreamdistill.shared.shards.survey import survey

SAMPLE = "00000025"  # in the second shard
LOADERS = [
    "webdataset",
    pytest.param("dali", marks=pytest.mark.skipif(not dali_is_installed(), reason="DALI is not installed")),
]


def replace_member(folder: Path, suffix: str, data: bytes) -> None:
    """Replace a member of the sample by other data of the same padded length, with an index and record that fit."""
    tar, index = folder / "000001.tar", folder / "000001.idx"
    found = re.search(rf"{suffix} (\d+) (\d+) {SAMPLE}\.{suffix}", index.read_text())
    assert found is not None
    offset, size = int(found[1]), int(found[2])
    blocks = -(-size // 512) * 512
    assert -(-len(data) // 512) * 512 == blocks, "the members behind it stay where they are"
    content = bytearray(tar.read_bytes())
    content[offset - 512 : offset] = tar_header(f"{SAMPLE}.{suffix}", len(data))
    content[offset : offset + blocks] = data.ljust(blocks, b"\0")
    tar.write_bytes(content)
    index.write_text(index.read_text().replace(found[0], f"{suffix} {offset} {len(data)} {SAMPLE}.{suffix}"))
    vouch(folder, 1)


def png(mode: str, size: int) -> bytes:
    buffer = io.BytesIO()
    Image.new(mode, (size, size)).save(buffer, "PNG")
    return buffer.getvalue()


def npy(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def broken(image: bytes) -> bytes:
    """A PNG whose header is right and whose compressed pixels are not."""
    start = image.index(b"IDAT") + 4
    return image[:start] + b"\xff" * 4 + image[start + 4 :]


FAULTS = {
    "size": ("png", png("L", 9), "9x9 pixels"),
    "colour": ("png", png("RGB", 8), "3 channels"),
    "no image": ("png", b"GIF89a" + bytes(60), "no PNG"),
    "data": ("png", broken(png("L", 8)), "image"),
    "class": ("target.npy", npy(np.array(10)), "target 10"),
    "NaN": ("logits.npy", npy(np.full(10, np.nan, np.float16)), "not finite"),
    "shape": ("logits.npy", npy(np.zeros(11, np.float16)), "logits"),
}


@pytest.mark.parametrize("loader", LOADERS)
@pytest.mark.parametrize("fault", FAULTS)
def test_a_sample_with_fitting_checksums_is_refused(
    fails: Fails, shards: Path, tmp_path: Path, loader: str, fault: str
) -> None:
    suffix, data, message = FAULTS[fault]
    replace_member(shards, suffix, data)
    ShardFolder.open(shards)
    out = tmp_path / "out"
    command = ["di-distill", "--shards", shards, "--out", out, "--epochs", 1, "--loader", loader]
    says = ["000001.tar", f"sample {SAMPLE}", message, "di-invert again"]
    fails(*command, code=1, says=says)
    assert not (out / "model.json").exists()
    if (loader, fault) != ("dali", "colour"):  # DALI converts colours to grey
        fails(*command, "--no-verify", code=1, says=says)  # found by the loader, at the sample


@pytest.mark.parametrize(
    "read",
    [
        lambda folder: list(folder.images()),
        lambda folder: survey(folder, columns=10).blocks((), most=10),
        lambda folder: Agreement(folder).share(load_model("digits_cnn").network),
    ],
    ids=["images", "survey", "agreement"],
)
def test_whoever_decodes_an_image_names_its_sample(shards: Path, read: Callable[[ShardFolder], object]) -> None:
    replace_member(shards, "png", broken(png("L", 8)))
    with pytest.raises(DreamError, match=f"000001.tar: sample {SAMPLE}: "):
        read(ShardFolder.open(shards))


def test_a_damaged_folder_can_be_mended_by_the_sentence(
    di: Di, fails: Fails, shards: Path, tmp_path: Path, as_made: list[object]
) -> None:
    content = bytearray((shards / "000001.tar").read_bytes())
    content[-1] ^= 1
    (shards / "000001.tar").write_bytes(content)
    command = ["di-prune", "--shards", shards, "--out", tmp_path / "out", "--epochs", 0]
    fails(*command, code=1, says=["000001.tar", "sha256", "delete the commit records"])
    (shards / "000001.json").unlink()
    assert di("di-invert", *as_made, "--out", shards)[0] == 0
    assert di("di-shards", "verify", shards)[0] == 0
    assert di(*command)[0] == 0
