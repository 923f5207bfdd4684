"""What is wrong with a classifier is found in its tensors and its logits, and named."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from dreamdistill.shared.models.classifier import Classifier, load_model
from dreamdistill.shared.models.health import examine


def network(classes: int = 10, *last: nn.Module) -> nn.Sequential:
    """A small network whose BatchNorm layers have seen a batch."""
    torch.manual_seed(0)
    body = [nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.BatchNorm2d(8)]
    made = nn.Sequential(*body, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, classes), *last)
    with torch.no_grad():
        made.train()(torch.randn(16, 1, 8, 8))
    return made


def classifier(module: nn.Module, *, weights: str | None = None, name: str | None = "net.py:make") -> Classifier:
    return Classifier(module, mean=(0.5,), std=(0.5,), image_size=8, name=name, weights=weights)


class Times(nn.Module):
    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, x: Tensor) -> Tensor:
        return x * self.factor


@pytest.mark.parametrize("name", ["digits_cnn", "digits_cnn_small"])
def test_a_sound_network_has_neither_errors_nor_warnings(name: str) -> None:
    health = examine(load_model(name, weights=None if name == "digits_cnn" else "none"))
    assert health.errors == health.warnings == ()


def nan(module: nn.Sequential) -> None:
    module[3].weight.data[0, 0, 0, 0] = math.nan  # type: ignore[union-attr,index]


def dead(module: nn.Sequential) -> None:
    module[4].running_var.zero_()  # type: ignore[union-attr,operator]


def negative(module: nn.Sequential) -> None:
    module[1].running_var[3] = -1.0  # type: ignore[union-attr,index]


def unseen(module: nn.Sequential) -> None:
    for layer in module:
        if isinstance(layer, nn.BatchNorm2d):
            layer.reset_running_stats()


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (nan, ["3.weight", "NaN"]),
        (dead, ["layer 4", "0 in every channel"]),
        (negative, ["layer 1", "negative"]),
    ],
)
def test_faults_of_tensors_are_errors_that_name_the_layer(
    fault: Callable[[nn.Sequential], None], words: list[str]
) -> None:
    module = network()
    fault(module)
    (error,) = examine(classifier(module)).errors
    assert [word for word in words if word not in error] == []


def test_some_channels_without_variance_are_no_fault() -> None:
    module = network()
    module[4].running_var[:3] = 0  # type: ignore[union-attr,index]
    assert examine(classifier(module)).errors == ()


def test_new_statistics_are_a_warning_unless_random_weights_are_meant() -> None:
    module = network()
    unseen(module)
    assert examine(classifier(module, weights="none")) == examine(classifier(network()))
    health = examine(classifier(module))
    assert health.errors == ()
    assert "2 of 2 BatchNorm layers, 1 first, have seen no batch" in health.warnings[0]


def test_some_layers_that_have_seen_no_batch_are_a_warning() -> None:
    module = network()
    module[4].reset_running_stats()  # type: ignore[union-attr,operator]
    health = examine(classifier(module))
    assert health.errors == ()
    assert "1 of 2 BatchNorm layers, 4 first" in health.warnings[0]


def test_one_class_is_an_error() -> None:
    (error,) = examine(classifier(network(1))).errors
    assert "one class" in error


@pytest.mark.parametrize(("factor", "errors"), [(1e7, 1), (1e3, 0)])
def test_logits_that_float16_cannot_hold_are_an_error(factor: float, errors: int) -> None:
    found = examine(classifier(network(10, Times(factor)))).errors
    assert len(found) == errors
    assert not found or "65,504" in found[0]


@pytest.mark.parametrize(
    ("last", "word"),
    [(nn.Softmax(1), "probabilities"), (nn.Sigmoid(), "sigmoid"), (Times(0.0), "same logits")],
)
def test_outputs_that_are_no_logits_are_a_warning(last: nn.Module, word: str) -> None:
    health = examine(classifier(network(10, last)))
    assert health.errors == ()
    assert word in health.warnings[0]


def test_log_probabilities_are_as_good_as_logits() -> None:
    assert examine(classifier(network(10, nn.LogSoftmax(1)))).warnings == ()
