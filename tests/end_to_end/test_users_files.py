"""Networks in users' own files, as users write them: what must work does, and what cannot is one sentence."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from helpers import BIN, PATIENCE, Di, Fails, contents
from torch import nn

from dreamdistill.shared.core.errors import ConfigError
from dreamdistill.shared.models.classifier import load_model
from dreamdistill.shared.shards.manifest import load_manifest

GREY_8PX = ["--mean", 0.5, "--std", 0.5, "--image-size", 8]
MADE = [*GREY_8PX, "--images", 4, "--shard-size", 2, "--steps", 1, "--recipe", "cifar10-deepinversion"]
LAYERS = """
import torch
from torch import nn

def layers(classes=3):
    torch.manual_seed(0)
    made = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.AdaptiveAvgPool2d(2),
                         nn.Flatten(), nn.Linear(16, classes))
    made[1].running_mean += 0.1
    return made
"""

NET = """
from pathlib import Path
from ..parts import layers
from .near import classes
from package.parts import layers as same

def make():
    import near
    assert same is layers
    assert Path("data").read_text() == "mine"
    return layers(near.classes)
"""


@pytest.fixture
def code(tmp_path: Path) -> Path:
    """A folder of the user's, which is not the working folder."""
    folder = tmp_path / "code"
    (folder / "package/inner").mkdir(parents=True)
    (folder / "blocks.py").write_text(LAYERS)
    (folder / "package/__init__.py").write_text("")
    (folder / "package/inner/__init__.py").write_text("")
    (folder / "package/parts.py").write_text(LAYERS)
    (folder / "package/inner/near.py").write_text("classes = 3\n")
    (folder / "package/inner/net.py").write_text(NET)
    return folder


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


def write(code: Path, text: str) -> str:
    """A user's file with a function ``make``, as ``--teacher`` takes it."""
    (code / "net.py").write_text(text)
    return f"{code / 'net.py'}:make"


WORKS = {
    "a module beside the file": "from blocks import layers as make",
    "a module beside the file, imported late": "def make():\n    from blocks import layers\n    return layers()",
    "a class": "from blocks import *\nclass make(nn.Module):\n    def __init__(self):\n        super().__init__()\n"
    "        self.all = layers()\n    def forward(self, x):\n        return self.all(x)",
    "argparse without required options": "import argparse\nfrom blocks import layers as make\n"
    "parser = argparse.ArgumentParser()\nparser.add_argument('--lr', default=1)\nassert parser.parse_args().lr == 1",
    "no gradients": "import torch\ntorch.set_grad_enabled(False)\nfrom blocks import layers as make",
    "another working folder": "import os\nos.chdir('/')\nfrom blocks import layers as make",
    "optional arguments": "from blocks import layers\ndef make(width=3, *rest, **options):\n    return layers(width)",
}


@pytest.mark.parametrize("name", WORKS)
def test_files_that_work(di: Di, code: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.chdir(tmp_path)
    path, modules = list(sys.path), set(sys.modules)
    result = di("di-invert", "--teacher", write(code, WORKS[name]), *MADE, "--workers", 1, "--out", "o")
    assert result[0] == 0, result[2]
    assert torch.is_grad_enabled()
    assert sys.path == path
    assert (tmp_path / "o/000001.json").exists()
    assert not [name for name in sys.modules.keys() - modules if name.startswith("near")]


def test_worker_processes_import_and_read_the_same(
    di: Di, code: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, out: Path
) -> None:
    (tmp_path / "data").write_text("mine")  # where the command is started
    monkeypatch.chdir(tmp_path)
    teacher = f"{code / 'package/inner/net.py'}:make"
    result = di("di-invert", "--teacher", teacher, *MADE, "--workers", 2, "--out", out)
    assert result[0] == 0, result[2]
    assert di("di-distill", "--shards", out, "--epochs", 1, "--out", out / "s")[0] == 0


def test_two_folders_with_modules_of_one_name(code: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "blocks.py").write_text(LAYERS.replace("classes=3", "classes=5"))
    names = [
        write(folder, "def make():\n    from blocks import layers\n    return layers()") for folder in (code, other)
    ]
    assert [load_model(name, mean=(0.5,), std=(0.5,), image_size=8).num_classes for name in names * 2] == [3, 5, 3, 5]


def test_the_working_folder_is_not_imported_from(
    fails: Fails, code: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, out: Path
) -> None:
    (tmp_path / "here.py").write_text(LAYERS)
    monkeypatch.chdir(tmp_path)
    command = ["di-invert", "--teacher", write(code, "from here import layers as make"), *MADE, "--out", out]
    fails(*command, code=2, says=["net.py cannot be imported", "No module named 'here'", "line 1", "beside the file"])


# package.module:factory


def test_a_module_in_the_working_folder(
    di: Di, code: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, out: Path
) -> None:
    for folder in (code, tmp_path):
        (folder / "data").write_text("mine")
    monkeypatch.chdir(code)
    result = di("di-invert", "--teacher", "package.inner.net:make", *MADE, "--workers", 1, "--out", out)
    assert result[0] == 0, result[2]
    assert load_manifest(out).teacher.name == f"{code / 'package/inner/net.py'}:make"
    monkeypatch.chdir(tmp_path)  # from elsewhere, by the manifest
    assert di("di-prune", "--shards", out, "--dry-run")[0] == 0


@pytest.mark.parametrize("name", ["no.such.module:make", "nosuchmodule:make", "torch.nothing:make"])
def test_no_such_module(fails: Fails, name: str, out: Path) -> None:
    fails("di-invert", "--teacher", name, *MADE, "--out", out, code=2, says=[name.partition(":")[0], "FILE.py:factory"])


# What cannot work

FAILS: dict[str, tuple[str, list[str]]] = {
    "ends the program": ("import sys\nsys.exit(0)", ["net.py cannot be imported", "ends the program", "line 2"]),
    "raises": ("x = {}['y']", ["KeyError", "'y'", "line 1"]),
    "is no Python": ("def make(:", ["SyntaxError"]),
    "needs an argument": ("def make(width):\n    return width", ["make needs the argument 'width'"]),
    "needs a keyword": ("def make(*, width):\n    return width", ["make needs the argument 'width'"]),
    "needs the classes": (
        "def make(num_classes):\n    return num_classes",
        ["make needs num_classes", "--num-classes"],
    ),
    "the factory raises": ("def make():\n    raise ValueError('no luck')", ["make failed", "no luck", "line 2"]),
    "the factory ends the program": ("def make():\n    exit(3)", ["make failed", "ends the program", "line 2"]),
    "no network": ("def make():\n    return 3, 4", ["make must return a torch.nn.Module, not tuple"]),
    "a network already": ("from blocks import layers\nmake = layers()", ["make is a network already"]),
    "no function": ("make = 3", ["no function 'make'"]),
    "a file that is not there": (
        "import torch\ndef make():\n    return torch.load('mine.pth')",
        ["mine.pth", "relative path", "__file__", "line 3"],
    ),
}


@pytest.mark.parametrize("name", FAILS)
def test_files_that_cannot_work(fails: Fails, code: Path, out: Path, name: str) -> None:
    text, says = FAILS[name]
    fails("di-invert", "--teacher", write(code, text), *MADE, "--out", out, code=2, says=says)
    assert not out.exists()


def test_argparse_with_a_required_option(di: Di, code: Path, out: Path) -> None:
    text = "import argparse\nparser = argparse.ArgumentParser()\nparser.add_argument('data')\nparser.parse_args()"
    code_of, stdout, stderr = di("di-invert", "--teacher", write(code, text), *MADE, "--out", out)
    assert (code_of, stdout) == (2, "")
    assert "ends the program (line 4 of net.py)" in stderr.splitlines()[-1]


# Output


def test_stdout_is_one_json_object_whatever_a_network_prints(code: Path, out: Path) -> None:
    text = (
        "import os\nfrom blocks import *\nprint('imported')\nos.system('echo by the shell')\n"
        "class Loud(nn.Sequential):\n    def forward(self, x):\n        print('forward')\n"
        "        return super().forward(x)\n"
        "def make():\n    print('built')\n    return Loud(*layers())"
    )
    options = ["--teacher", write(code, text), *MADE, "--workers", 1, "--out", out, "--json"]
    command = [str(BIN / "di-invert"), *map(str, options)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE)
    assert ended.returncode == 0, ended.stderr
    assert json.loads(ended.stdout)["images"] == 4
    assert all(word in ended.stderr for word in ("imported", "by the shell", "built", "forward"))


# Networks that were not trained


@pytest.mark.parametrize("seed", ["", "torch.manual_seed(0)"])
def test_random_weights_are_not_taken_for_trained_ones(code: Path, seed: str) -> None:
    text = LAYERS.replace("made[1].running_mean += 0.1", "").replace("layers(", "make(")
    name = write(code, text.replace("torch.manual_seed(0)", seed))
    with pytest.raises(ConfigError, match="make is not trained"):
        load_model(name, mean=(0.5,), std=(0.5,), image_size=8)
    # Weights that the file sets are no random ones, though its BatchNorm has seen nothing.
    own = "    for value in made.parameters():\n        value.data.fill_(0.1)\n    return made"
    name = write(code, text.replace("torch.manual_seed(0)", "").replace("    return made", own))
    assert load_model(name, mean=(0.5,), std=(0.5,), image_size=8).num_classes == 3


def test_random_weights_without_batchnorm(code: Path) -> None:
    text = LAYERS.replace("    made[1].running_mean += 0.1\n", "").replace("nn.BatchNorm2d(4)", "nn.Identity()")
    given = {"mean": (0.5,), "std": (0.5,), "image_size": 8}
    load_model(write(code, text.replace("layers(", "make(")), **given)  # it sets a seed, and may read its weights then
    name = write(code, text.replace("layers(", "make(").replace("torch.manual_seed(0)", "pass"))
    with pytest.raises(ConfigError, match="make is not trained: its weights are other random numbers each time"):
        load_model(name, **given)


def test_a_network_that_was_not_trained(di: Di, fails: Fails, code: Path, out: Path, tmp_path: Path) -> None:
    teacher = write(code, LAYERS.replace("made[1].running_mean += 0.1", "").replace("layers(", "make("))
    command = ["di-invert", "--teacher", teacher, *MADE, "--workers", 1, "--out", out]
    fails(*command, code=2, says=["net.py:make is not trained", "seen no batch", "--weights FILE", "--weights none"])
    assert not out.exists()
    assert di(*command, "--weights", "none")[0] == 0
    assert load_manifest(out).teacher.weights == "none"
    student = ["di-distill", "--shards", out, "--student", teacher, "--epochs", 1, "--out", tmp_path / "student"]
    result = di(*student)
    assert result[0] == 0, result[2]
    assert "does not load" not in result[2]
    before = contents(tmp_path / "student")
    assert di("di-prune", "--shards", out, "--dry-run")[0] == 0
    assert contents(tmp_path / "student") == before


def test_weights_from_a_file_are_weights(di: Di, code: Path, out: Path, tmp_path: Path) -> None:
    teacher = write(code, LAYERS.replace("made[1].running_mean += 0.1", "").replace("layers(", "make("))
    network: nn.Module = load_model(teacher, weights="none", mean=(0.5,), std=(0.5,), image_size=8).network
    state = {f"_orig_mod.module.{key}": value for key, value in network.state_dict().items()}
    torch.save({"net": state, "epoch": 9}, tmp_path / "w.pth")
    command = ["di-invert", "--teacher", teacher, "--weights", tmp_path / "w.pth", *MADE, "--workers", 1, "--out", out]
    assert di(*command)[0] == 0
