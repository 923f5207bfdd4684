"""Saved models: what is damaged, claims what its weights do not back, or computes something else is refused."""

from __future__ import annotations

import os
import random
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from dreamdistill.shared.core.errors import ConfigError, DreamError
from dreamdistill.shared.core.records import write_record_file
from dreamdistill.shared.models.checkpoints import (
    MODEL_JSON,
    MODEL_SCHEMA,
    MODEL_WEIGHTS,
    ModelRecord,
    read_model_record,
    save_model,
)
from dreamdistill.shared.models.classifier import load_model
from dreamdistill.shared.models.preprocessing import Preprocessing
from dreamdistill.shared.models.students import new_network

GREY = Preprocessing(mean=(0.1,), std=(0.2,), image_size=8)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    _, network = new_network("digits_cnn_small", num_classes=10, preprocessing=GREY, seed=0)
    save_model(
        tmp_path / "m", network, architecture="digits_cnn_small", num_classes=10, class_names=(), preprocessing=GREY
    )
    return tmp_path / "m"


def changed(folder: Path, **values: object) -> str:
    """The same model with another record."""
    record = replace(read_model_record(folder), **values)
    write_record_file(folder / MODEL_JSON, record, schema=MODEL_SCHEMA)
    return str(folder)


@pytest.mark.parametrize("name", [MODEL_JSON, MODEL_WEIGHTS])
def test_a_flipped_bit_and_a_cut_are_found(folder: Path, name: str) -> None:
    path = folder / name
    whole, chance = path.read_bytes(), random.Random(0)
    places = [*range(8 * 4), *(chance.randrange(8 * len(whole)) for _ in range(200)), 8 * len(whole) - 1]
    for place in places:
        data = bytearray(whole)
        data[place // 8] ^= 1 << place % 8
        path.write_bytes(data)
        with pytest.raises(DreamError, match="make the model again"):
            load_model(str(folder))
    for length in (0, 1, 100, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(DreamError, match="make the model again"):
            load_model(str(folder))
    path.write_bytes(whole)
    load_model(str(folder))


def test_another_version_is_refused(folder: Path) -> None:
    write_record_file(folder / MODEL_JSON, read_model_record(folder), schema=MODEL_SCHEMA - 1)
    with pytest.raises(ConfigError, match="another version"):
        load_model(str(folder))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("num_classes", 0),
        ("num_classes", 10**9),
        ("mean", (0.5, 0.5)),
        ("std", (0.0,)),
        ("image_size", 100_000),
        ("channels", {"conv1": [2**40, 1, 1]}),
        ("channels", {"conv1": []}),
        ("channels", {"conv1": [1] * 100_000}),
        ("dropped", ("\x1b[2J",)),
        ("dropped", ("x" * 5000,)),
        ("dropped", tuple(map(str, range(5000)))),
        ("architecture", "\x1b[2J"),
        ("file_sha256", "no digest"),
        ("probe_logits", ((0.0,) * 9,) * 4),
    ],
)
def test_a_record_outside_its_ranges_is_refused(folder: Path, field: str, value: object) -> None:
    with pytest.raises(ValueError, match=field):
        replace(read_model_record(folder), **{field: value})


@pytest.mark.parametrize(
    ("layer", "widths", "says"),
    [
        ("layer1.0.conv1", [1_000_000, 1_000_000, 1], "not of shape"),
        ("linear", [1_000_000, 1_000_000], "not of shape"),
        ("bn1", [1_000_000], "not of shape"),
        ("layer1.0.conv1", [12, 12, 0], "no channels"),
        ("layer1.0.conv1", [12, 12, 5], "divide"),
        ("layer1.0.conv1", [12], "another type"),
        ("nothing", [12], "no layer 'nothing'"),
    ],
)
def test_widths_that_the_weights_do_not_back_allocate_nothing(
    folder: Path, layer: str, widths: list[int], says: str
) -> None:
    record: ModelRecord = read_model_record(folder)
    with pytest.raises(ConfigError, match=says):
        load_model(changed(folder, channels={**record.channels, layer: widths}))


@pytest.mark.parametrize(
    ("dropped", "says"),
    [
        (["nothing"], "no block 'nothing'"),
        ([""], "no block ''"),
        (["linear"], "layer 'linear' has another type"),  # which has widths, and weights
    ],
)
def test_blocks_that_the_architecture_or_the_weights_know_better(folder: Path, dropped: list[str], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        load_model(changed(folder, dropped=tuple(dropped)))


@pytest.mark.parametrize("dropped", [("layer1.0", "layer1.0"), ("layer1.0", "layer1"), ("a.b", "a-b", "a.b.c")])
def test_blocks_of_which_one_is_a_part_of_another(folder: Path, dropped: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match="has the part"):
        replace(read_model_record(folder), dropped=dropped)


def test_classes_that_the_weights_do_not_back_allocate_nothing(folder: Path) -> None:
    record = read_model_record(folder)
    other = {"num_classes": 99_999, "probe_logits": tuple((0.0,) * 99_999 for _ in record.probe_logits)}
    with pytest.raises(ConfigError, match="99999 classes, and no layer of its weights has so many"):
        load_model(changed(folder, architecture="vgg16", **other))


@pytest.mark.parametrize("where", ["itself", "no/such/name", "x" * 4000])
def test_an_architecture_that_is_no_registered_name(folder: Path, where: str) -> None:
    with pytest.raises(ConfigError, match=r"names the folder|there is no teacher"):
        load_model(changed(folder, architecture=str(folder) if where == "itself" else where))


def test_a_model_that_computes_something_else(folder: Path) -> None:
    record = read_model_record(folder)
    rows = tuple(tuple(value + 0.5 for value in row) for row in record.probe_logits)
    with pytest.raises(ConfigError, match="same weights as when it was saved, but computes something else"):
        load_model(changed(folder, probe_logits=rows))
    assert load_model(str(folder), weights="none").num_classes == 10  # other weights, asked for


def test_a_model_loads_for_another_input_than_it_was_saved_for(folder: Path) -> None:
    assert load_model(str(folder), mean=(0.3,), image_size=12).preprocessing.image_size == 12


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="pipes with names are those of POSIX")
@pytest.mark.parametrize("name", [MODEL_JSON, MODEL_WEIGHTS])
def test_a_pipe_in_place_of_a_file_is_not_waited_for(folder: Path, name: str) -> None:
    (folder / name).unlink()
    os.mkfifo(folder / name)
    with pytest.raises(ConfigError, match=r"there is no"):
        load_model(str(folder))


def test_tied_weights_are_saved(tmp_path: Path) -> None:
    first = nn.Linear(64, 64)
    second = nn.Linear(64, 64)
    second.weight = first.weight
    network = nn.Sequential(nn.Flatten(), first, second, nn.Linear(64, 3)).eval()
    save_model(tmp_path / "m", network, architecture=None, num_classes=3, class_names=(), preprocessing=GREY)
    x = torch.randn(2, 1, 8, 8)
    expected = network(x)
    assert torch.equal(load_model(str(tmp_path / "m"), network=network).network(x), expected)


def test_a_network_that_cannot_be_saved_leaves_the_earlier_one(folder: Path) -> None:
    _, network = new_network("digits_cnn_small", num_classes=10, preprocessing=GREY, seed=1)
    with torch.no_grad():
        network.get_parameter("linear.bias")[0] = float("inf")
    with pytest.raises(ConfigError, match="no finite numbers"):
        save_model(folder, network, architecture="digits_cnn_small", num_classes=10, class_names=(), preprocessing=GREY)
    load_model(str(folder))
