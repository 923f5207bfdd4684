"""Dropped blocks: what stands in their place, and saved models that lack them."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import nn

from dreamdistill.shared.core.errors import ConfigError
from dreamdistill.shared.models.channels import apply_channel_config, channel_config
from dreamdistill.shared.models.checkpoints import read_model_record, save_model
from dreamdistill.shared.models.classifier import load_model, reload_model
from dreamdistill.shared.models.dropped import Dropped, drop_blocks, dropped_blocks
from dreamdistill.shared.models.networks import NETWORKS
from dreamdistill.shared.models.preprocessing import Preprocessing
from dreamdistill.shared.models.students import new_network

GREY = Preprocessing(mean=(0.1,), std=(0.2,), image_size=8)
build: Callable[[], nn.Module] = partial(NETWORKS["cifar_resnet20"].build, num_classes=10, in_channels=1)


def without_blocks() -> nn.Module:
    """Two blocks are dropped, and a layer is narrower."""
    torch.manual_seed(0)
    network = build().eval()
    drop_blocks(network, ["layer1.1", "layer3.2"])
    channels = channel_config(network)
    channels["layer1.0.conv1"][0] = channels["layer1.0.bn1"][0] = channels["layer1.0.conv2"][1] = 5
    apply_channel_config(network, channels)
    return network


def save(folder: Path, network: nn.Module, *, architecture: str | None) -> str:
    save_model(folder, network, architecture=architecture, num_classes=10, class_names=[], preprocessing=GREY)
    return str(folder)


@pytest.mark.parametrize(("names", "says"), [(["layer1.1", "nothing"], "no block"), (["layer1", "layer1.1"], "part")])
def test_nothing_is_dropped_where_a_name_is_wrong(names: list[str], says: str) -> None:
    network = build()
    with pytest.raises(ValueError, match=says):
        drop_blocks(network, names)
    assert dropped_blocks(network) == ()


def test_a_block_that_was_dropped_stays_so() -> None:
    network = without_blocks()
    before = network.get_submodule("layer1.1")
    drop_blocks(network, ["layer1.1", "layer2.1"])
    assert network.get_submodule("layer1.1") is before
    assert dropped_blocks(network) == ("layer1.1", "layer2.1", "layer3.2")
    assert not any(module.training for module in network.modules())


def test_whatever_a_block_was_given_its_first_argument_goes_on() -> None:
    x = torch.randn(2, 3)
    assert Dropped()(x, None, mask=torch.ones(2)) is x


def test_a_saved_model_without_blocks_is_a_teacher_again(tmp_path: Path) -> None:
    network, x_NCHW = without_blocks(), torch.randn(2, 1, 8, 8)
    folder = save(tmp_path / "m", network, architecture="cifar_resnet20")
    assert read_model_record(tmp_path / "m").dropped == ("layer1.1", "layer3.2")
    again = load_model(folder)
    with torch.no_grad():
        assert torch.equal(again.network(x_NCHW), network(x_NCHW))
    assert again.architecture == "cifar_resnet20"
    assert reload_model(again.record()).sha256 == again.sha256

    base, student = new_network(folder, num_classes=10, preprocessing=GREY, seed=1)
    twice = load_model(save(tmp_path / "n", student, architecture=base)).network
    for smaller in (student, twice):
        assert dropped_blocks(smaller) == ("layer1.1", "layer3.2")
        assert channel_config(smaller) == channel_config(network)


def test_a_saved_module_in_memory_is_loaded_into_a_whole_one_and_into_one_without_blocks(tmp_path: Path) -> None:
    network, x_NCHW = without_blocks(), torch.randn(2, 1, 8, 8)
    folder = save(tmp_path / "m", network, architecture=None)
    for given in (build(), without_blocks()):
        with torch.no_grad():
            assert torch.equal(load_model(folder, network=given).network(x_NCHW), network(x_NCHW))
    fewer = without_blocks()
    drop_blocks(fewer, ["layer1.2"])
    with pytest.raises(ConfigError, match="another architecture"):
        load_model(folder, network=fewer)
