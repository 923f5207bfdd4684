"""What a network computes: the probes are the same everywhere, rounding is no difference, and an edit is one."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
import torchvision
from torch import Tensor, nn

from dreamdistill.shared.core.errors import ConfigError
from dreamdistill.shared.models.classifier import Classifier, load_model, reload_model
from dreamdistill.shared.models.comparison import check_same
from dreamdistill.shared.models.identity import ClassifierRecord, computes_the_same, difference
from dreamdistill.shared.models.preprocessing import Preprocessing
from dreamdistill.shared.models.probes import probe_images, probe_logits

GREY = Preprocessing(mean=(0.5,), std=(0.5,), image_size=8)


def replaced(network: nn.Module, old: type[nn.Module], new: Callable[[], nn.Module]) -> nn.Module:
    changed = copy.deepcopy(network)
    for module in list(changed.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, old):
                setattr(module, name, new())
    return changed


def test_the_probes_are_the_same_on_every_platform() -> None:
    pixels = probe_images(Preprocessing(mean=(0.5,) * 3, std=(0.5,) * 3, image_size=20))
    assert pixels.shape == (4, 3, 20, 20)
    assert hashlib.sha256(pixels.numpy().tobytes()).hexdigest().startswith("6f6665febe59d90b")
    assert torch.equal(pixels[3, :, :8, :8], pixels[3, :, :1, :1].expand(3, 8, 8))
    assert not torch.equal(pixels[3, :, 7:8, 0], pixels[3, :, 8:9, 0])


@pytest.mark.parametrize("name", ["digits_cnn", "resnet18", "mobilenet_v3_small"])
def test_rounding_is_no_difference(name: str) -> None:
    teacher = load_model(name, weights=None if name == "digits_cnn" else "none", num_classes=10)
    size = replace(teacher.preprocessing, image_size=min(64, teacher.preprocessing.image_size))
    found = probe_logits(teacher.network, size, title=name)
    x_NCHW = size.normalize(probe_images(size))
    with torch.no_grad():
        exact = copy.deepcopy(teacher.network).double()(x_NCHW.double())
    assert difference(tuple(map(tuple, exact.tolist())), found) < 5e-5
    laid_out = copy.deepcopy(teacher.network).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    assert difference(probe_logits(laid_out, size, title=name), found) < 5e-5


def test_an_edit_is_a_difference() -> None:
    torch.manual_seed(0)
    layers = nn.Conv2d(1, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 36, 5)
    network = nn.Sequential(*layers).eval()
    found = probe_logits(network, GREY, title="x")
    for new in (nn.Sigmoid, nn.GELU, lambda: nn.LeakyReLU(0.01)):
        edited = probe_logits(replaced(network, nn.ReLU, new), GREY, title="x")
        assert not computes_the_same(edited, found), new
    other_eps = copy.deepcopy(network)
    other_eps.get_submodule("1").eps = 1e-2  # type: ignore[assignment]
    assert not computes_the_same(probe_logits(other_eps, GREY, title="x"), found)


def test_a_flag_is_noticed_where_a_teacher_is_loaded_again() -> None:
    torch.manual_seed(0)
    network = torchvision.models.googlenet(init_weights=False, aux_logits=False, num_classes=10)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = None
    with torch.no_grad():  # statistics of some images: without, the logits hardly depend on the image
        network.train()(torch.randn(8, 3, 64, 64))
    description: dict[str, Any] = {"mean": (0.5,) * 3, "std": (0.5,) * 3, "image_size": 64}
    made = [Classifier(copy.deepcopy(network), **description) for _ in range(2)]
    check_same(Classifier(copy.deepcopy(network), **description), made[1].record())
    made[0].network.transform_input = True  # type: ignore[assignment]
    with pytest.raises(ConfigError, match="has the same weights as when it made these shards, but computes something"):
        check_same(made[0], made[1].record())


def test_the_network_and_the_random_numbers_are_left_as_they_were() -> None:
    network = nn.Sequential(nn.Flatten(), nn.Dropout(0.5), nn.BatchNorm1d(64), nn.Linear(64, 3)).train()
    network[3].eval()
    before = {key: value.clone() for key, value in network.state_dict().items()}
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    probe_logits(network, GREY, title="x")
    assert torch.equal(torch.rand(3), expected)
    assert [module.training for module in network] == [True, True, True, False]
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())


class Noisy(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(64, 3)

    def forward(self, x_NCHW: Tensor) -> Tensor:
        return self.linear(nn.functional.dropout(x_NCHW.flatten(1), 0.5, training=True))


class Batched(Noisy):
    def forward(self, x_NCHW: Tensor) -> Tensor:
        return self.linear(x_NCHW.flatten(1) - x_NCHW.flatten(1).mean(0))


@pytest.mark.parametrize("kind", [Noisy, Batched])
def test_a_network_that_gives_other_logits_each_time_is_refused(kind: type[nn.Module]) -> None:
    made = Classifier(kind(), mean=(0.5,), std=(0.5,), image_size=8)
    with pytest.raises(ConfigError, match="other logits for the same image the second time"):
        made.record()


def test_logits_that_are_no_numbers_are_refused() -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(64, 3))
    with torch.no_grad():
        network.get_parameter("1.weight")[0, 0] = float("nan")
    with pytest.raises(ConfigError, match="no finite numbers"):
        Classifier(network, mean=(0.5,), std=(0.5,), image_size=8).record()


def test_a_record_keeps_the_probes_to_six_digits() -> None:
    record = load_model("digits_cnn").record()
    assert [len(row) for row in record.probe_logits] == [10] * 4
    assert all(float(f"{value:.6g}") == value for row in record.probe_logits for value in row)
    assert reload_model(record).probe_logits == record.probe_logits


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", "a\x1b[2Jb"),
        ("weights", "x" * 5000),
        ("sha256", "abc"),
        ("mean", (0.5, 0.5)),
        ("std", (0.0,)),
        ("mean", (float("nan"),)),
        ("image_size", 0),
        ("image_size", 10**6),
        ("num_classes", 10**9),
        ("class_names", ("a",)),
        ("probe_logits", ((1.0,) * 10,)),
        ("probe_logits", ((float("inf"),) * 10,) * 4),
    ],
)
def test_a_record_outside_its_ranges_is_refused(field: str, value: object) -> None:
    values = {name: getattr(load_model("digits_cnn").record(), name) for name in ClassifierRecord.__slots__}
    with pytest.raises(ValueError, match=field):
        ClassifierRecord(**{**values, field: value})
