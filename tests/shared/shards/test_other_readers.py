"""The readers of other projects read the shards as they are: webdataset alone, and timm."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from dreamdistill.shared.shards.folder import ShardFolder

# The snippet of the documentation, for colour images.
SNIPPET = """
from glob import glob

import webdataset as wds  # pip install webdataset

tars = sorted(glob("shards/*.tar"))
dataset = wds.WebDataset(tars, shardshuffle=False).decode("pil")  # "pill" if the images are grey
for image, logits, label in dataset.to_tuple("png;jpg", "logits.npy", "cls"):
    print(image.size, image.mode, logits.shape, label)  # a PIL image, a NumPy array (float16), an int
"""


@pytest.mark.parametrize(("name", "size", "mode"), [("grey", 8, "L"), ("jpeg", 96, "RGB")])
def test_webdataset_alone_reads_the_shards_without_warnings(
    name: str, size: int, mode: str, request: pytest.FixtureRequest
) -> None:
    folder: ShardFolder = request.getfixturevalue(name)
    code = SNIPPET.replace('"pil"', '"pill"') if mode == "L" else SNIPPET
    # By default Python hides ResourceWarnings. webdataset causes them: the garbage collector closes its tars.
    command = [sys.executable, "-W", "error", "-W", "ignore::ResourceWarning", "-c", code]
    done = subprocess.run(command, cwd=folder.path.parent, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [f"({size}, {size}) {mode} (10,) {i % 10}" for i in range(26)]


def test_timm_reads_the_folder(grey: ShardFolder) -> None:
    pytest.importorskip("timm")
    from timm.data.dataset_factory import create_dataset

    info = json.loads((grey.path / "_info.json").read_text())
    assert info["splits"]["train"]["num_samples"] == 26
    dataset = create_dataset("wds/", root=str(grey.path), split="train", is_training=False, batch_size=4)
    samples = [sample for sample in dataset]  # type: ignore[attr-defined]
    assert [label for _, label in samples] == [i % 10 for i in range(26)]
