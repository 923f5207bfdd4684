"""Networks of torchvision that differ from the others in how they are built, saved or trained."""

from __future__ import annotations

import warnings
from pathlib import Path

import pytest
import torch
import torchvision

from dreamdistill.shared.models.checkpoints import save_model
from dreamdistill.shared.models.classifier import Classifier, load_model
from dreamdistill.shared.models.preprocessing import Preprocessing
from dreamdistill.shared.models.students import new_network

SMALL = Preprocessing(mean=(0.5,) * 3, std=(0.5,) * 3, image_size=64)


def save(classifier: Classifier, folder: Path) -> Classifier:
    save_model(
        folder,
        classifier.network,
        architecture=classifier.architecture,
        num_classes=classifier.num_classes,
        class_names=(),
        preprocessing=classifier.preprocessing,
    )
    return load_model(str(folder))


def test_googlenet_is_built_as_torchvision_builds_it_with_weights(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of torchvision, that its initial weights will be others
        theirs = torchvision.models.GoogLeNet(num_classes=10, transform_input=True, init_weights=False).eval()
    torch.save(theirs.state_dict(), tmp_path / "weights.pth")
    x_NCHW = torch.randn(2, 3, 64, 64)

    ours = load_model("googlenet", weights=str(tmp_path / "weights.pth"), num_classes=10, image_size=64)

    with torch.no_grad():
        assert torch.equal(ours.network(x_NCHW), theirs(x_NCHW))
        assert torch.equal(save(ours, tmp_path / "m").network(x_NCHW), theirs(x_NCHW))
    assert load_model(str(ours.name), weights=ours.weights, num_classes=10, image_size=64).sha256 == ours.sha256


@pytest.mark.parametrize(("name", "size"), [("googlenet", 64), ("inception_v3", 96)])
def test_auxiliary_heads_are_left_out(name: str, size: int) -> None:
    preprocessing = Preprocessing(mean=SMALL.mean, std=SMALL.std, image_size=size)
    base, student = new_network(name, num_classes=10, preprocessing=preprocessing, seed=0)
    assert base == name
    assert not student.transform_input
    assert student.train()(preprocessing.blank(2)).shape == (2, 10)


def test_mnasnet_loads_as_it_was_saved(tmp_path: Path) -> None:
    teacher = load_model("mnasnet0_5", weights="none", num_classes=10, image_size=64)
    assert save(teacher, tmp_path / "m").sha256 == teacher.sha256
