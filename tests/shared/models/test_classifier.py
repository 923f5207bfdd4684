"""Teachers by every kind of name, with weights from every kind of file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from torch import nn

from dreamdistill.shared.core.errors import ConfigError
from dreamdistill.shared.models.architectures import find_architecture
from dreamdistill.shared.models.channels import apply_channel_config, channel_config
from dreamdistill.shared.models.checkpoints import save_model
from dreamdistill.shared.models.classifier import Classifier, check_same, load_model, reload_model
from dreamdistill.shared.models.cost import count_macs
from dreamdistill.shared.models.networks import NETWORKS, PadShortcut
from dreamdistill.shared.models.preprocessing import Preprocessing
from dreamdistill.shared.models.state_dicts import weights_sha256
from dreamdistill.shared.models.students import new_network

GREY = Preprocessing(mean=(0.1,), std=(0.2,), image_size=8)
REAL = Path(__file__).parents[4] / "shared/data/cifar10-resnet20.safetensors"
USER_FILE = """
import torch
from torch import nn

def net(num_classes=4):
    torch.manual_seed(5)
    trained = nn.Sequential(nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
                            nn.Linear(6, num_classes))
    trained[1].running_mean += 0.1
    return trained

net.pretrained_cfg = {"mean": (0.1, 0.2, 0.3), "std": (0.4, 0.5, 0.6), "input_size": (3, 20, 20)}

def detector():
    return nn.Conv2d(3, 6, 3)
"""


@pytest.fixture
def user_file(tmp_path: Path) -> Path:
    path = tmp_path / "mine.py"
    path.write_text(USER_FILE)
    return path


@pytest.mark.parametrize("name", NETWORKS)
def test_our_own_networks_take_what_they_say(name: str) -> None:
    teacher = load_model(name, weights="none", num_classes=7)
    assert teacher.num_classes == 7
    assert teacher.preprocessing.image_size == NETWORKS[name].image_size


def test_a_size_is_tried_and_multiply_adds_are_counted_once() -> None:
    teacher, seen = load_model("digits_cnn"), []
    teacher.network.register_forward_pre_hook(lambda module, inputs: seen.append(tuple(inputs[0].shape)))
    for size in (8, 12, 12, 8):
        teacher.check_size(size)
    assert teacher.macs == teacher.macs == count_macs(load_model("digits_cnn").network, torch.zeros(1, 1, 8, 8))
    assert seen == [(1, 1, 12, 12), (1, 1, 8, 8)]


def test_random_weights_are_the_same_each_time() -> None:
    first, again = (load_model("cifar_resnet20", weights="none") for _ in range(2))
    assert first.sha256 == again.sha256


def test_torchvision_names_bring_their_normalisation_and_class_names() -> None:
    teacher = load_model("resnet18", weights="none")
    assert teacher.num_classes == 1000
    assert teacher.class_names[0] == "tench"
    assert teacher.preprocessing.image_size == 224
    assert load_model("resnet18", weights="none", num_classes=10).class_names == ()


def test_timm_names() -> None:
    pytest.importorskip("timm")
    teacher = load_model("timm/tf_efficientnet_lite0", weights="none", num_classes=5)
    assert teacher.num_classes == 5
    assert teacher.preprocessing.mean == (0.5, 0.5, 0.5)
    with pytest.raises(ConfigError, match="did you mean 'resnet18'"):
        load_model("timm/resnet1", weights="none")


def test_a_users_own_file(user_file: Path) -> None:
    teacher = load_model(f"{user_file}:net")
    assert teacher.num_classes == 4
    assert teacher.preprocessing == Preprocessing(mean=(0.1, 0.2, 0.3), std=(0.4, 0.5, 0.6), image_size=20)
    assert load_model(f"{user_file}:net", num_classes=9).num_classes == 9
    assert load_model(f"{user_file}:net", mean=(0.0,) * 3, std=(1.0,) * 3).preprocessing.std == (1.0,) * 3
    for factory, message in (("ned", "no function 'ned'; did you mean 'net'"), ("detector", "logits")):
        with pytest.raises(ConfigError, match=message):
            load_model(f"{user_file}:{factory}", weights="none")


def test_a_student_of_a_users_file_starts_anew(user_file: Path) -> None:
    teacher = load_model(f"{user_file}:net")
    _, student = new_network(str(teacher.name), num_classes=4, preprocessing=teacher.preprocessing, seed=1)
    assert weights_sha256(student) != teacher.sha256


def test_every_kind_of_weights_file_is_the_same_teacher(tmp_path: Path) -> None:
    network = NETWORKS["digits_cnn"].build(num_classes=10, in_channels=1)
    state = network.state_dict()
    safetensors.torch.save_file(state, tmp_path / "a.safetensors")
    torch.save(state, tmp_path / "b.pth")
    torch.save({"state_dict": {f"module.{key}": value for key, value in state.items()}, "epoch": 3}, tmp_path / "c.pt")
    names = ("a.safetensors", "b.pth", "c.pt")
    found = {load_model("digits_cnn", weights=str(tmp_path / name)).sha256 for name in names}
    assert found == {weights_sha256(network)}


def test_the_teacher_is_frozen() -> None:
    network = load_model("digits_cnn").network
    assert not network.training
    assert not any(parameter.requires_grad for parameter in network.parameters())


def test_a_saved_model_is_a_teacher_again_with_its_channels(tmp_path: Path) -> None:
    network = NETWORKS["digits_cnn"].build(num_classes=10, in_channels=1)
    channels = channel_config(network)
    channels["layer1.0.conv1"][0] = channels["layer1.0.bn1"][0] = channels["layer1.0.conv2"][1] = 5
    apply_channel_config(network, channels)
    save_model(
        tmp_path / "m", network.eval(), architecture="digits_cnn", num_classes=10, class_names=[], preprocessing=GREY
    )
    again = load_model(str(tmp_path / "m"))
    x = torch.randn(2, 1, 8, 8)
    assert torch.equal(again.network(x), network(x))
    assert again.preprocessing == GREY
    assert again.architecture == "digits_cnn"
    base, student = new_network(str(tmp_path / "m"), num_classes=10, preprocessing=GREY, seed=0)
    assert base == "digits_cnn"
    assert channel_config(student) == channel_config(network)


def test_a_saved_module_in_memory_is_loaded_into_such_a_module(tmp_path: Path) -> None:
    network = NETWORKS["digits_cnn"].build(num_classes=10, in_channels=1).eval()
    save_model(tmp_path / "m", network, architecture=None, num_classes=10, class_names=[], preprocessing=GREY)
    with pytest.raises(ConfigError, match=r"dreamdistill.load\(FOLDER, network=MODULE\)"):
        load_model(str(tmp_path / "m"))
    fresh = NETWORKS["digits_cnn"].build(num_classes=10, in_channels=1)
    assert load_model(str(tmp_path / "m"), network=fresh).sha256 == weights_sha256(network)
    with pytest.raises(ConfigError, match="another architecture"):
        load_model(str(tmp_path / "m"), network=nn.Sequential(nn.Flatten(), nn.Linear(64, 10)))


def test_a_module_in_memory_is_a_classifier() -> None:
    network = NETWORKS["digits_cnn"].build(num_classes=10, in_channels=1)
    names = [f"digit {n}" for n in range(10)]
    made = Classifier(network, mean=(0.1,), std=(0.2,), image_size=8, class_names=names)
    assert (made.num_classes, made.name, made.title) == (10, None, "a network in memory (SmallResNet)")
    assert made.record().class_names == tuple(names)
    check_same(made, made.record())
    with pytest.raises(ConfigError, match="another --mean"):
        check_same(made, Classifier(network, mean=(0.3,), std=(0.2,), image_size=8).record())
    with pytest.raises(ConfigError, match="was a network in memory: pass it again"):
        reload_model(made.record())
    with pytest.raises(ConfigError, match="10 classes, and 2 class names"):
        Classifier(network, mean=(0.1,), std=(0.2,), image_size=8, class_names=["a", "b"])
    with pytest.raises(ConfigError, match="does not take 8x8 images of 3 channels"):
        Classifier(network, mean=(0.1,) * 3, std=(0.2,) * 3, image_size=8)


def test_a_manifest_brings_back_its_teacher_and_no_other() -> None:
    teacher = load_model("digits_cnn")
    assert reload_model(teacher.record()).sha256 == teacher.sha256
    with pytest.raises(ConfigError, match="not the teacher of these shards"):
        reload_model(teacher.record(), weights="none")


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("resnet5O", {}, "no teacher 'resnet5O'; did you mean 'resnet50'"),
        ("cifar_resnet20", {}, "--weights FILE"),
        ("digits_cnn", {"weights": "nothing.pth"}, "no weights file"),
        ("resnet18", {"weights": "IMAGENET1K_V9"}, "did you mean 'IMAGENET1K_V1'"),
        ("digits_cnn", {"num_classes": 7}, "do not fit"),
        ("digits_cnn", {"mean": (0.5, 0.5)}, "--mean and --std"),
        ("digits_cnn", {"std": (0.0,)}, "and --std above 0"),
        ("resnet18", {"weights": "none", "mean": (0.5,), "std": (0.5,)}, "colour images"),
        ("vit_b_16", {"weights": "none", "image_size": 100}, "does not take 100x100"),
        ("no/file.py:net", {}, "no file"),
        ("no/file.py", {}, "no/file.py:FUNCTION"),
        ("fasterrcnn_resnet50_fpn", {}, "no teacher"),
    ],
)
def test_what_cannot_be_loaded_is_named(name: str, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_model(name, **arguments)


def test_weights_that_cannot_be_downloaded_say_how_to_pass_a_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")  # discards: no test reaches a network
    with pytest.raises(ConfigError, match=r"could not be downloaded .* --weights FILE"):
        load_model("resnet18")


def test_normalisation_and_back() -> None:
    preprocessing = Preprocessing(mean=(0.4, 0.5, 0.6), std=(0.2, 0.3, 0.4), image_size=4)
    pixels = torch.arange(48, dtype=torch.uint8).reshape(1, 3, 4, 4) * 5
    assert torch.equal(preprocessing.to_pixels(preprocessing.normalize(pixels)), pixels)
    low, high = preprocessing.valid_range(torch.device("cpu"))
    assert torch.equal(preprocessing.to_pixels(torch.cat([low, high], 2)[None])[0, :, 0], torch.tensor([[0, 255]] * 3))


def test_the_share_of_values_that_storing_clips() -> None:
    """By more than half a level; what is nearer to a pixel is rounded to it."""
    preprocessing = Preprocessing(mean=(0.4, 0.5, 0.6), std=(0.2, 0.3, 0.4), image_size=2)
    levels = torch.tensor([-20, -0.6, -0.4, 0, 128, 255, 255.4, 255.6, 255.4, 300, 7, 8]).reshape(1, 3, 2, 2)
    assert preprocessing.share_clipped(preprocessing.normalize(levels)) == pytest.approx(4 / 12)


def test_option_a_shortcuts_subsample_and_pad() -> None:
    x = torch.randn(2, 4, 6, 6)
    out = PadShortcut(4, 8, 2)(x)
    assert torch.equal(out[:, 2:6], x[:, :, ::2, ::2])
    assert out[:, :2].abs().sum() + out[:, 6:].abs().sum() == 0


@pytest.mark.skipif(not REAL.exists(), reason="the real CIFAR teacher is not at hand")
def test_the_real_cifar_checkpoint_fits() -> None:
    assert load_model("cifar_resnet20", weights=str(REAL)).num_classes == 10


def test_architectures_name_themselves_from_anywhere(user_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(user_file.parent)
    assert find_architecture("mine.py:net").name == f"{user_file}:net"


def test_new_convolutions_are_of_he_s_size() -> None:
    preprocessing = Preprocessing(image_size=32, mean=(0.5,) * 3, std=(0.25,) * 3)
    for name, layer in (("cifar_resnet20", "layer3.2.conv2"), ("cifar_vgg11_bn", "features.22")):
        _, student = new_network(name, num_classes=10, preprocessing=preprocessing, seed=0)
        convolution = student.get_submodule(layer)
        assert isinstance(convolution, nn.Conv2d)
        weight = convolution.weight.detach()
        outputs = weight.shape[0] * 9  # each input reaches so many
        assert float(weight.std()) == pytest.approx((2 / outputs) ** 0.5, rel=0.02)  # 5 deviations of 37,000 numbers
