"""Weights as trainers save them: any wrapper, any prefix, and the files that are no weights at all."""

from __future__ import annotations

import argparse
import gzip
import io
import pickle
import types
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from torch import Tensor, nn

from dreamdistill.shared.core.errors import ConfigError
from dreamdistill.shared.models.matching import match_weights
from dreamdistill.shared.models.state_dicts import fit_weights
from dreamdistill.shared.models.weights_files import read_checkpoint

State = dict[str, Tensor]


def plain() -> nn.Module:
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4, 3))


class Nested(nn.Module):
    """Its children have the names of wrappers."""

    def __init__(self) -> None:
        super().__init__()
        self.module, self.model = plain(), plain()


class Twice(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        block = plain()
        self.blocks = nn.ModuleList([block, block])


def below(prefix: str, state: State) -> State:
    return {prefix + key: value for key, value in state.items()}


def load(path: Path, network: nn.Module) -> State:
    fit_weights(network, match_weights(read_checkpoint(path), network, path=path, name="mine"), name="mine")
    return network.state_dict()


def same(one: State, other: State) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)


@pytest.fixture
def wanted() -> State:
    return plain().state_dict()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "w.pth"


WRAPPED: dict[str, Callable[[State], Any]] = {
    "pytorch-cifar": lambda s: {"net": s, "acc": np.float64(93.1), "epoch": 9},
    "timm": lambda s: {"arch": "mine", "state_dict": s, "optimizer": {}, "args": argparse.Namespace(lr=0.1)},
    "own options": lambda s: {"model": s, "options": types.SimpleNamespace(lr=0.1)},
    "ImageNet example": lambda s: {"state_dict": below("module.", s), "best_acc1": torch.tensor(90.0)},
    "Lightning": lambda s: {"state_dict": {**below("model.", s), "loss.weight": torch.ones(3)}, "loops": {}},
    "wrapper in wrapper": lambda s: {"ema": {"module": below("module.", s)}, "updates": 3},
    "any name at all": lambda s: {"my_best_one": s},
    "a tuple": lambda s: (s, {"lr": 0.1}),
    "deep": lambda s: {"state_dict": {"state_dict": {"state_dict": s}}},
    "numbers among the weights": lambda s: {**s, "epoch": 3},
    "AveragedModel": lambda s: {**below("module.", s), "n_averaged": torch.tensor(3)},
    "wrapper in the middle": lambda s: {
        key.replace("0.", "0._orig_mod.", 1).replace("1.", "1.module.", 1): value for key, value in s.items()
    },
    "no batch counters": lambda s: {key: value for key, value in s.items() if "num_batches" not in key},
    "another network beside it": lambda s: {"generator": {"0.weight": torch.ones(2)}, "discriminator": s},
}


@pytest.mark.parametrize("name", WRAPPED)
def test_wrappers(path: Path, wanted: State, name: str) -> None:
    torch.save(WRAPPED[name](wanted), path)
    assert same(load(path, plain()), wanted)


@pytest.mark.parametrize("suffix", ["pth", "safetensors", "bin"])
@pytest.mark.parametrize(
    "prefix",
    [
        "",
        "module.",
        "_orig_mod.",
        "_orig_mod.module.",
        "module._orig_mod.",
        "module.module.model.net.backbone.",
        "x.y.",
    ],
)
def test_prefixes(tmp_path: Path, wanted: State, prefix: str, suffix: str) -> None:
    save = torch.save if suffix == "pth" else safetensors.torch.save_file  # .bin: by its content
    save(below(prefix, wanted), tmp_path / f"w.{suffix}")
    assert same(load(tmp_path / f"w.{suffix}", plain()), wanted)


@pytest.mark.parametrize("prefix", ["", "module.", "model.module.", "_orig_mod."])
def test_a_network_whose_children_have_the_names_of_wrappers(path: Path, prefix: str) -> None:
    wanted = Nested().state_dict()
    torch.save(below(prefix, wanted), path)
    assert same(load(path, Nested()), wanted)


@pytest.mark.cpu
def test_a_wrapped_network_takes_bare_weights(path: Path, wanted: State) -> None:
    torch.save(wanted, path)
    found = load(path, nn.DataParallel(plain()))
    assert same(found, below("module.", wanted))


def test_tied_tensors_have_one_name_in_safetensors(tmp_path: Path) -> None:
    network = Twice()
    safetensors.torch.save_model(network, str(tmp_path / "w.safetensors"))
    assert len(safetensors.torch.load_file(tmp_path / "w.safetensors")) < len(network.state_dict())
    assert same(load(tmp_path / "w.safetensors", Twice()), network.state_dict())


@pytest.mark.parametrize(
    "names", [("state_dict", "state_dict_ema"), ("model", "ema"), ("params", "params_ema"), ("net", "swa_model.module")]
)
def test_averaged_weights_are_taken_and_said_to_be(
    path: Path, wanted: State, capsys: pytest.CaptureFixture[str], names: tuple[str, str]
) -> None:
    torch.save({names[0]: plain().state_dict(), names[1]: wanted}, path)
    assert same(load(path, plain()), wanted)
    assert f"{names[1]} is taken" in capsys.readouterr().err


def test_equal_ones_are_one(path: Path, wanted: State, capsys: pytest.CaptureFixture[str]) -> None:
    torch.save({"model": wanted, "ema": {key: value.clone() for key, value in wanted.items()}}, path)
    assert same(load(path, plain()), wanted)
    assert capsys.readouterr().err == ""


def test_two_networks_that_fit(path: Path, wanted: State) -> None:
    for content in (
        {"student": wanted, "teacher": plain().state_dict()},
        {**below("student.", wanted), **below("teacher.", plain().state_dict())},
    ):
        torch.save(content, path)
        with pytest.raises(ConfigError, match=r"w.pth holds several networks that fit mine \(student, teacher\)"):
            load(path, plain())


def test_a_misfit_is_named_by_the_networks_own_keys(path: Path, wanted: State) -> None:
    del wanted["3.bias"]
    torch.save({"model": below("module.", wanted)}, path)
    with pytest.raises(ConfigError, match=r"do not fit mine: the weights lack 3.bias \(1 keys missing, 0 unknown"):
        load(path, plain())
    torch.save({"model": {**below("module.", plain().state_dict()), "module.3.weight": torch.ones(7, 4)}}, path)
    with pytest.raises(ConfigError, match=r"3.weight is \(7, 4\) in the weights and \(3, 4\) in the network"):
        load(path, plain())


def torchscript() -> bytes:
    file = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.script(plain()), file)
    return file.getvalue()


def saved(content: Any, **options: Any) -> bytes:
    file = io.BytesIO()
    torch.save(content, file, **options)
    return file.getvalue()


def zipped(*names: str) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name in names:
            archive.writestr(name, "x")
    return file.getvalue()


OTHERS: dict[str, tuple[Callable[[], bytes], str]] = {
    "LFS": (
        lambda: b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n",
        "Git LFS pointer.*lfs pull",
    ),
    "HTML": (lambda: b"\n<!DOCTYPE html>\n<html><body>404</body></html>", "a web page.*fetch it again"),
    "JSON": (lambda: b'{"metadata": {"total_size": 1}}', "a JSON text"),
    "empty": (lambda: b"", "is empty"),
    "whole network": (lambda: saved(plain()), "a pickled network.*state_dict"),
    "whole network in a dict": (lambda: saved({"model": plain(), "epoch": 3}), "a pickled network.*state_dict"),
    "whole network, old format": (
        lambda: saved(plain(), _use_new_zipfile_serialization=False),
        "Sequential is in it.*state_dict",
    ),
    "TorchScript": (torchscript, "TorchScript.*torch.jit.load.*state_dict"),
    "pickle": (lambda: pickle.dumps({"a": 1}), "a Python pickle"),
    "gzip": (lambda: gzip.compress(saved(plain().state_dict())), r"gzip.*unpack"),
    "zip": (lambda: zipped("readme.txt", "weights/w.pth"), "a zip archive.*unpack"),
    "Keras 3": (lambda: zipped("config.json", "model.weights.h5"), "Keras.*PyTorch"),
    "HDF5": (lambda: b"\x89HDF\r\n\x1a\n" + bytes(99), "HDF5.*Keras.*PyTorch"),
    "ONNX": (lambda: b"\x08\x08\x12\x07pytorch\x1a\x052.1.0", "ONNX.*PyTorch"),
    "NumPy": (lambda: b"\x93NUMPY\x01\x00", "NumPy"),
    "cut off": (lambda: saved(plain().state_dict())[:-300], "damaged.*fetch it again"),
    "a text": (
        lambda: b"hello, I am no weights file",
        "cannot be read as weights: it is no file of tensors",
    ),
    "options alone": (lambda: saved({"lr": 0.1}), "no state dict"),
}


@pytest.mark.parametrize("suffix", ["pth", "safetensors", "onnx"])
@pytest.mark.parametrize("name", OTHERS)
def test_what_is_no_weights_file_is_named(tmp_path: Path, name: str, suffix: str) -> None:
    content, says = OTHERS[name]
    path = tmp_path / f"w.{suffix}"
    path.write_bytes(content())
    with pytest.raises(ConfigError, match=says if suffix != "safetensors" else r"w.safetensors"):
        read_checkpoint(path)
