"""Inputs that cannot be used: exit code 2, one sentence that says what to do, and nothing written."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import safetensors.torch
import torch
from helpers import Di, Fails, contents

from dreamdistill.shared.models.preprocessing import Preprocessing
from dreamdistill.shared.models.students import new_network

DIGITS = Preprocessing(mean=(0.305,), std=(0.376,), image_size=8)
TINY = ["--images", 4, "--shard-size", 4, "--steps", 2, "--workers", 1]
QUICK = ["--epochs", 1, "--batch-size", 20]
GREY_8PX = ["--mean", 0.5, "--std", 0.5, "--image-size", 8]
UNTRAINED = ["--weights", "none", *GREY_8PX]
USERS_FILE = """
from torch import nn

def no_batchnorm():
    return nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 64, 10))

def five_classes():
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4 * 36, 5))
"""


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


@pytest.fixture
def users_file(tmp_path: Path) -> Path:
    path = tmp_path / "users_networks.py"
    path.write_text(USERS_FILE)
    return path


def save_digits(path: Path, name: str, *, seed: int) -> Path:
    """Weights of a new digits network."""
    _, network = new_network(name, num_classes=10, preprocessing=DIGITS, seed=seed)
    safetensors.torch.save_file(network.state_dict(), path)
    return path


# Weights and networks


def test_weights_of_another_network(fails: Fails, tmp_path: Path, out: Path) -> None:
    weights = save_digits(tmp_path / "small.safetensors", "digits_cnn_small", seed=0)
    says = ["do not fit digits_cnn", "conv1.weight", "--weights"]
    fails("di-invert", "--teacher", "digits_cnn", "--weights", weights, *TINY, "--out", out, code=2, says=says)
    assert not out.exists()


@pytest.mark.parametrize("name", ["w.safetensors", "w.pth"])
@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "is empty"),
        (b"hello, these are no weights", "cannot be read as weights"),
        (b"\x80\x02weights", "Python pickle"),
        (b"\x10" * 100, "cannot be read as weights"),
        (b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
    ],
)
def test_file_that_holds_no_weights(fails: Fails, tmp_path: Path, out: Path, name: str, data: bytes, says: str) -> None:
    weights = tmp_path / name
    weights.write_bytes(data)
    command = ["di-invert", "--teacher", "digits_cnn", "--weights", weights, *TINY, "--out", out]
    fails(*command, code=2, says=[str(weights), says])
    assert not out.exists()


def test_torch_file_that_holds_no_state_dict(fails: Fails, tmp_path: Path, out: Path) -> None:
    weights = tmp_path / "w.pth"
    torch.save([1, 2, 3], weights)
    command = ["di-invert", "--teacher", "digits_cnn", "--weights", weights, *TINY, "--out", out]
    fails(*command, code=2, says=[str(weights), "no state dict"])
    assert not out.exists()


def test_missing_weights(fails: Fails, tmp_path: Path, out: Path) -> None:
    weights = tmp_path / "w.safetensors"
    command = ["di-invert", "--teacher", "digits_cnn", "--weights", weights, *TINY, "--out", out]
    fails(*command, code=2, says=["no weights file", str(weights)])
    assert not out.exists()


def test_class_count_of_the_teacher(fails: Fails, out: Path) -> None:
    command = ["di-invert", "--teacher", "digits_cnn", "--num-classes", 7, *TINY, "--out", out]
    fails(*command, code=2, says=["do not fit digits_cnn", "(10, 48)", "(7, 48)", "--num-classes"])
    assert not out.exists()


def test_class_count_of_the_student(di: Di, fails: Fails, users_file: Path, made_shards: Path, out: Path) -> None:
    command = ["di-distill", "--shards", made_shards, *QUICK, "--loader", "webdataset", "--out", out]
    student = ["--student", f"{users_file}:five_classes"]
    fails(*command, *student, code=2, says=["five_classes", "5 classes", "10"])
    assert not out.exists()

    assert di(*command)[0] == 0
    before = contents(out)
    fails(*command, *student, "--overwrite", code=2, says=["five_classes", "5 classes", "10"])
    assert contents(out) == before


def test_teacher_without_batchnorm(di: Di, fails: Fails, users_file: Path, out: Path) -> None:
    command = ["di-invert", "--teacher", f"{users_file}:no_batchnorm", *UNTRAINED, *TINY, "--out", out]
    says = ["no_batchnorm", "no BatchNorm", "--recipe cifar10-deepdream", "still work"]
    fails(*command, "--recipe", "cifar10-deepinversion", code=2, says=says)
    assert not out.exists()

    code, _, stderr = di(*command[:-1], out / "default")
    assert code == 0
    assert "without that term" in stderr

    for number, works in enumerate((["--recipe", "cifar10-deepdream"], ["--recipe", "noise"], ["--alpha-feature", 0])):
        code, _, stderr = di(*command[:-1], out / str(number), *works)
        assert code == 0, stderr
        assert di("di-shards", "verify", out / str(number))[0] == 0


def test_image_size_that_the_teacher_does_not_take(fails: Fails, users_file: Path, out: Path) -> None:
    command = ["di-invert", "--teacher", f"{users_file}:no_batchnorm", *UNTRAINED, "--image-size", 9, "--out", out]
    fails(*command, code=2, says=["does not take 9x9 images", "--image-size"])
    assert not out.exists()


def test_function_that_the_users_file_lacks(fails: Fails, users_file: Path, out: Path) -> None:
    command = ["di-invert", "--teacher", f"{users_file}:no_batchnrom", *GREY_8PX, *TINY, "--out", out]
    fails(*command, code=2, says=["'no_batchnrom'", "did you mean 'no_batchnorm'"])
    assert not out.exists()


def test_shards_of_another_teacher(fails: Fails, tmp_path: Path, shards: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    weights = save_digits(tmp_path / "other.safetensors", "digits_cnn", seed=1)
    monkeypatch.chdir(tmp_path)  # to read shards/ and write runs/, as the commands do by themselves
    before = contents(shards)
    for command in ("di-prune", "di-distill"):
        fails(command, "--weights", weights, code=2, says=["not the teacher of these shards", "sha256", "--weights"])
    assert not Path("runs").exists()

    says = ["another teacher", "--out", "--overwrite"]
    fails("di-invert", "--teacher", "digits_cnn", "--weights", "none", *TINY, code=2, says=says)
    assert contents(shards) == before


# Folders


@pytest.mark.parametrize("there", [False, True], ids=["missing", "empty"])
@pytest.mark.parametrize("command", ["di-distill", "di-prune", "show", "verify", "gallery"])
def test_no_shards(fails: Fails, tmp_path: Path, out: Path, command: str, there: bool) -> None:
    folder = tmp_path / "nothing"
    if there:
        folder.mkdir()
    options = [command, "--shards", folder, "--out", out] if command[:3] == "di-" else ["di-shards", command, folder]
    state = "is empty" if there else "does not exist"
    fails(*options, code=2, says=[str(folder), state, "di-invert --teacher NAME"])
    assert not out.exists()
    assert folder.exists() == there
    assert not there or not list(folder.iterdir())


def test_output_folder_that_is_a_file(fails: Fails, made_shards: Path, out: Path) -> None:
    out.write_text("precious")
    fails("di-invert", "--teacher", "digits_cnn", *TINY, "--out", out, code=2, says=[str(out), "cannot make"])
    fails("di-distill", "--shards", made_shards, "--out", out, code=2, says=[str(out), "cannot make"])
    assert out.read_text() == "precious"


def test_shard_folder_of_another_recipe(di: Di, fails: Fails, shards: Path, as_made: list[object]) -> None:
    command = ["di-invert", *as_made]
    before = contents(shards)
    written = (shards / "000000.tar").stat().st_mtime_ns

    says = ["another recipe", "steps", "--append", "--overwrite"]
    fails(*command, "--steps", 4, "--out", shards, code=2, says=says)
    fails(*command, "--images", 44, "--out", shards, code=2, says=["images", "--append", "--overwrite"])
    assert contents(shards) == before

    assert di(*command, "--out", shards)[0] == 0  # the same again: nothing to do
    assert contents(shards) == before
    assert (shards / "000000.tar").stat().st_mtime_ns == written

    append = [*command, "--steps", 4, "--images", 20, "--out", shards, "--append"]
    for _ in range(2):  # the second time there is nothing to do
        assert di(*append)[0] == 0
        after = contents(shards)
        rounds = json.loads(after["manifest.json"])["rounds"]
        assert [(r["recipe"]["steps"], r["first_shard"], r["images"]) for r in rounds] == [([3], 0, 40), ([4], 2, 20)]
        assert {name: after[name] for name in before if name[0] == "0"} == {
            name: data for name, data in before.items() if name[0] == "0"
        }
        assert json.loads(after["_info.json"])["splits"]["train"]["num_samples"] == 60
        assert di("di-shards", "verify", shards)[0] == 0

    (shards / "notes.txt").write_text("the user's own")
    assert di(*command, "--steps", 4, "--images", 4, "--out", shards, "--overwrite")[0] == 0
    after = contents(shards)
    kept = [".locks", "notes.txt"]  # the first is empty, and may be in use
    assert sorted(after) == sorted(["000000.idx", "000000.json", "000000.tar", "_info.json", "manifest.json", *kept])
    assert [r["images"] for r in json.loads(after["manifest.json"])["rounds"]] == [4]


def test_result_folder_of_other_settings(di: Di, fails: Fails, made_shards: Path, out: Path) -> None:
    command = ["di-distill", "--shards", made_shards, *QUICK, "--loader", "webdataset", "--out", out]
    assert di(*command)[0] == 0
    before = contents(out)

    says = [str(out), "other settings", "--overwrite"]
    fails(*command, "--lr", 0.2, "--no-flip", code=2, says=[*says, "(lr 0.05, now 0.2; flip on, now off)"])
    fails("di-prune", "--shards", made_shards, "--out", out, code=2, says=says)
    assert contents(out) == before

    assert di(*command)[0] == 0  # the same again: nothing to do
    assert contents(out) == before

    assert di(*command, "--lr", 0.2, "--overwrite")[0] == 0
    assert contents(out)["model.safetensors"] != before["model.safetensors"]


def test_logits_that_cannot_be_stored_are_refused_where_they_appear(fails: Fails, tmp_path: Path) -> None:
    file, out = tmp_path / "net.py", tmp_path / "s"
    file.write_text(
        "from torch import nn\n\n\nclass Huge(nn.Module):\n    def __init__(self):\n        super().__init__()\n"
        "        self.conv, self.norm = nn.Conv2d(1, 10, 3), nn.BatchNorm2d(10)\n\n"
        "    def forward(self, x):\n        logits = self.norm(self.conv(x)).mean((2, 3))\n"
        "        return logits * 1e7 if len(x) > 2 else logits  # more than are tried before the work\n\n\n"
        "def huge():\n    return Huge()\n"
    )
    size = ["--mean", 0.5, "--std", 0.5, "--image-size", 8, "--images", 4, "--steps", 1, "--workers", 1]
    says = ["1 of 1 shards failed", "65,504", "--mean"]
    fails("di-invert", "--teacher", f"{file}:huge", "--weights", "none", *size, "--out", out, code=1, says=says)
    assert not list(out.glob("0*"))
