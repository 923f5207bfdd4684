"""Layers are timed as they stand in a network, and what a choice leaves is measured until it fits."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

import pytest
import torch
from networks import calibrated
from random_networks import resnet20_of
from torch import nn

from dreamdistill.prune.choosing import CLOSE, Parts, choose_part
from dreamdistill.prune.config import Budget
from dreamdistill.prune.planning import plan_pruning
from dreamdistill.prune.units import COUNTED, Latency, build
from dreamdistill.shared.models.cost import count_macs
from dreamdistill.shared.structure.cut import CutNetwork
from dreamdistill.shared.structure.layers import LayerShape, layer_shapes
from dreamdistill.shared.structure.targets import Targets

X_NCHW = torch.randn(96, 3, 16, 16, generator=torch.Generator().manual_seed(0))
CPU = torch.device("cpu")


@pytest.mark.parametrize("name", ["mobilenet_v3_small", "regnet_x_400mf", "timm/efficientvit_b0", "vit_b_32"])
@torch.no_grad()
def test_a_layer_is_timed_on_maps_of_its_size(name: str) -> None:
    side = 224 if name == "vit_b_32" else 64
    shapes = layer_shapes(calibrated(name), torch.randn(1, 3, side, side))
    for shape in shapes.values():
        layer, one = build(shape)
        out = layer.eval()(torch.randn(2, *one))
        if shape.kind == "linear":
            assert out.shape == ((2, shape.size[0], shape.outputs) if shape.size[0] > 1 else (2, shape.outputs))
        else:
            assert out.shape == (2, shape.outputs, *shape.size)


def test_the_size_of_a_dilated_layer_of_odd_stride() -> None:
    layer = nn.Sequential(nn.Conv2d(3, 8, (3, 5), stride=(2, 3), dilation=(2, 1), padding=1))
    x_NCHW = torch.randn(1, 3, 29, 31)
    (shape,) = layer_shapes(layer, x_NCHW).values()
    again, one = build(shape)
    assert again(torch.randn(1, *one)).shape == layer(x_NCHW).shape


def test_a_shape_is_timed_once_and_a_wide_layer_takes_longer() -> None:
    clock = Latency(batch=4, device=CPU)
    wide = LayerShape(kind="conv", inputs=128, outputs=256, kernel_size=(3, 3), size=(16, 16))
    assert clock.layer(wide) > 5 * clock.layer(wide.without(120, 248)) > 0
    assert clock.layer(replace(wide, biased=True)) == clock.layer(wide)


def test_networks_are_timed_compiled_where_they_will_run_compiled(capfd: pytest.CaptureFixture[str]) -> None:
    clock = Latency(batch=4, device=CPU, compiled=True)
    for width in range(8, 13):  # torch keeps the graphs of eight networks at most
        one, other = (nn.Sequential(nn.Conv2d(3, width, 3), nn.ReLU()).requires_grad_(False) for _ in range(2))
        assert 0.1 < clock.share(one, other, torch.randn(1, 3, 8, 8)) < 10
    lines = capfd.readouterr().err.splitlines()
    assert len(lines) == 10
    assert all("compiled a network that is timed for (4, 3, 8, 8)" in line for line in lines)


class Clock(Latency):
    """A device on which every network takes a third of the time for nothing, and the rest by its multiply-adds."""

    def layer(self, layer: LayerShape) -> float:
        return COUNTED["macs"].layer(layer) * (1.3 if layer.outputs % 8 else 1)  # odd widths may be slower than full

    def whole(self, network: nn.Module, example_NCHW: torch.Tensor) -> float:
        return float(count_macs(network, example_NCHW))

    def share(self, network: nn.Module, whole: nn.Module, example_NCHW: torch.Tensor) -> float:
        return 1 / 3 + 2 / 3 * self.whole(network, example_NCHW) / self.whole(whole, example_NCHW)


class Jolted(Clock):
    """A device so busy that its first measurement of a choice is far too short, and the next one as long as asked."""

    def share(self, network: nn.Module, whole: nn.Module, example_NCHW: torch.Tensor) -> float:
        return next(self.measured)

    measured: ClassVar = iter([1.0, 0.3, 0.7])


def chosen(unit: Latency) -> tuple[nn.Module, nn.Module]:
    """A network, and what is left of it with a budget of 0.7."""
    network = resnet20_of(X_NCHW)
    plan = plan_pruning(network, Budget(option="latency", left=0.7), example_NCHW=X_NCHW[:1], unit=unit)
    batches = [(X_NCHW, torch.arange(96) % 10)]
    targets = Targets.of(network, plan.blocks, [X_NCHW], X_NCHW[:1])
    whole = CutNetwork.of(network)
    groups = plan.groups(network, X_NCHW[:1])
    parts = Parts.of(whole, groups, plan, targets, batches)
    choice = choose_part(whole, network, plan, parts, 0.7, example_NCHW=X_NCHW[:1])
    return network, whole.without(groups, choice.removed, choice.dropped, example_NCHW=X_NCHW[:1]).network


def test_the_choice_is_made_again_until_the_measured_time_fits() -> None:
    unit = Clock(batch=1, device=CPU)
    network, cut = chosen(unit)
    assert unit.share(cut, network, X_NCHW[:1]) == pytest.approx(0.7, rel=CLOSE)


def test_a_measurement_that_is_far_off_never_leads_to_a_choice_of_nothing() -> None:
    network, cut = chosen(Jolted(batch=1, device=CPU))
    assert count_macs(cut, X_NCHW[:1]) < count_macs(network, X_NCHW[:1])
