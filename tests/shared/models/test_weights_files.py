"""Weights files are data: what torch.save does not write ends in one sentence, and nothing large is allocated."""

from __future__ import annotations

import os
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from torch import Tensor, nn

from dreamdistill.shared.core.errors import ConfigError
from dreamdistill.shared.models.classifier import load_model
from dreamdistill.shared.models.networks import NETWORKS
from dreamdistill.shared.models.state_dicts import fit_weights
from dreamdistill.shared.models.weights_files import read_checkpoint


def state() -> dict[str, Any]:
    return NETWORKS["digits_cnn"].build(num_classes=10, in_channels=1).state_dict()


class Marker:
    """Writes a file if it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return (os.mkdir, (str(self.path),))


class Hiding:
    """Is unpickled as a dict whose methods are hidden by attributes."""

    def __reduce__(self) -> Any:
        return OrderedDict, (), {"items": 5, "values": 5, "get": 5}, None, iter(state().items())


def circle() -> dict[str, Any]:
    found: dict[str, Any] = {}
    found["state_dict"] = found
    return found


CRAFTED: dict[str, Callable[[], Any]] = {
    "a list": lambda: [1, 2],
    "keys that are no text": lambda: {1: torch.zeros(2)},
    "a circle": circle,
    "a sparse tensor": lambda: {**state(), "linear.bias": torch.zeros(10).to_sparse()},
    "a tensor without memory": lambda: {**state(), "linear.bias": torch.zeros(10, device="meta")},
}


@pytest.mark.parametrize("name", CRAFTED)
@pytest.mark.filterwarnings("ignore:Sparse invariant checks")
def test_what_is_no_state_dict(tmp_path: Path, name: str) -> None:
    torch.save(CRAFTED[name](), tmp_path / "w.pth")
    with pytest.raises(ConfigError, match=r"holds no state dict|cannot be read as weights|weights lack linear.bias"):
        load_model("digits_cnn", weights=str(tmp_path / "w.pth"))


def test_no_code_in_a_file_is_run(tmp_path: Path) -> None:
    for legacy in (False, True):
        torch.save(
            {**state(), "x": Marker(tmp_path / "run")}, tmp_path / "w.pth", _use_new_zipfile_serialization=not legacy
        )
        with pytest.raises(ConfigError, match="cannot be read as weights"):
            read_checkpoint(tmp_path / "w.pth")
        assert not (tmp_path / "run").exists()


def test_attributes_in_place_of_methods_are_not_called(tmp_path: Path) -> None:
    torch.save(Hiding(), tmp_path / "w.pth")
    assert set(read_checkpoint(tmp_path / "w.pth")[""]) == set(state())


@pytest.mark.parametrize("dtype", [torch.int64, torch.complex64, torch.bool])
def test_numbers_of_another_kind(tmp_path: Path, dtype: torch.dtype) -> None:
    torch.save({**state(), "linear.bias": torch.zeros(10, dtype=dtype)}, tmp_path / "w.pth")
    with pytest.raises(ConfigError, match=f"do not fit digits_cnn: linear.bias is {dtype}"):
        load_model("digits_cnn", weights=str(tmp_path / "w.pth"))


def test_half_and_double_precision_are_weights(tmp_path: Path) -> None:
    for dtype in (torch.float16, torch.bfloat16, torch.float64):
        halves = {key: value.to(dtype) if value.is_floating_point() else value for key, value in state().items()}
        torch.save(halves, tmp_path / "w.pth")
        assert load_model("digits_cnn", weights=str(tmp_path / "w.pth")).num_classes == 10


def test_a_shape_that_no_memory_backs_is_refused_by_its_shape(tmp_path: Path) -> None:
    huge = torch.zeros(1).expand(10**6, 10**6)
    torch.save({**state(), "linear.weight": huge}, tmp_path / "w.pth")
    with pytest.raises(ConfigError, match=r"linear.weight is \(1000000, 1000000\) in the weights"):
        load_model("digits_cnn", weights=str(tmp_path / "w.pth"))


def test_an_archive_that_claims_more_than_it_holds(tmp_path: Path) -> None:
    path = tmp_path / "w.pth"
    torch.save({"x": torch.zeros(10**6)}, path)
    with zipfile.ZipFile(path) as whole, zipfile.ZipFile(tmp_path / "c.pth", "w", zipfile.ZIP_DEFLATED) as small:
        for name in whole.namelist():
            small.writestr(name, whole.read(name))
    with pytest.raises(ConfigError, match="its parts are compressed"):
        read_checkpoint(tmp_path / "c.pth")


def test_a_header_that_claims_more_than_the_file_holds(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    safetensors.torch.save_file({"x": torch.zeros(100)}, path)
    data = path.read_bytes()
    for size in (2**62, 10**12, len(data)):
        path.write_bytes(size.to_bytes(8, "little") + data[8:])
        with pytest.raises(ConfigError, match="cannot be read as weights"):
            read_checkpoint(path)


def test_weights_that_are_no_numbers(tmp_path: Path) -> None:
    torch.save({**state(), "linear.bias": torch.full((10,), float("nan"))}, tmp_path / "w.pth")
    with pytest.raises(ConfigError, match="no finite numbers"):
        load_model("digits_cnn", weights=str(tmp_path / "w.pth")).record()


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="pipes with names are those of POSIX")
def test_pipes_devices_and_folders_are_no_weights_files(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "w.pth")
    (tmp_path / "v.pth").mkdir()
    for path in (tmp_path / "w.pth", tmp_path / "v.pth", Path("/dev/zero"), tmp_path / ("x" * 300 + ".pth")):
        with pytest.raises(ConfigError, match="no weights file"):
            read_checkpoint(path)


def test_parameters_are_plain_tensors_afterwards(tmp_path: Path) -> None:
    torch.save({"x": nn.Parameter(torch.zeros(2))}, tmp_path / "w.pth")
    assert type(read_checkpoint(tmp_path / "w.pth")[""]["x"]) is Tensor


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_a_state_that_was_converted_as_a_whole(tmp_path: Path, dtype: torch.dtype) -> None:
    """Its counters are fractions too, and beyond what float16 holds they are infinite."""
    saved = {key: value.to(dtype) for key, value in state().items()}
    saved["bn1.num_batches_tracked"] = torch.tensor(float("inf"), dtype=dtype)
    torch.save(saved, tmp_path / "w.pth")
    loaded = load_model("digits_cnn", weights=str(tmp_path / "w.pth")).network.state_dict()
    assert torch.equal(loaded["conv1.weight"], saved["conv1.weight"].float())
    assert loaded["bn1.num_batches_tracked"].dtype == torch.int64


def test_whole_numbers_saved_as_fractions() -> None:
    network = nn.Linear(2, 2)
    network.register_buffer("index", torch.tensor([3, 1]))
    saved = network.state_dict()
    fit_weights(network, {**saved, "index": torch.tensor([1.0, 2.0])}, name="it")
    assert network.get_buffer("index").tolist() == [1, 2]
    for wrong in (torch.tensor([1.5, 2.0]), torch.tensor([float("nan"), 2.0])):
        with pytest.raises(ConfigError, match=r"index is torch.float32 there, and torch.int64 in the network"):
            fit_weights(network, {**saved, "index": wrong}, name="it")
    with pytest.raises(ConfigError, match=r"weight is torch.int64 there"):
        fit_weights(network, {**saved, "weight": torch.ones(2, 2, dtype=torch.int64)}, name="it")


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning")
def test_a_quantized_network_is_named(tmp_path: Path) -> None:
    quantized = torch.quantize_per_tensor(state()["conv1.weight"], 0.1, 0, torch.qint8)
    torch.save({"model": {**state(), "conv1.weight": quantized}}, tmp_path / "w.pth")
    with pytest.raises(ConfigError, match="holds a quantized network: save the state dict of the one"):
        load_model("digits_cnn", weights=str(tmp_path / "w.pth"))
