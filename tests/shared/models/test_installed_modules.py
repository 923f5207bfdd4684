"""Networks of modules that are installed, named by the user as ``package.module:factory``."""

from __future__ import annotations

import sys

import torch

from dreamdistill.shared.core.imports import find_installed
from dreamdistill.shared.models.classifier import load_model


def test_an_installed_module() -> None:
    """torchvision refuses to register a network twice, so the module must not be run twice."""
    for _ in range(2):
        found = load_model("torchvision.models.resnet:resnet18", weights="none")
        assert found.num_classes == 1000
        assert str(found.name).endswith("torchvision/models/resnet.py:resnet18")
    find_installed("torch.nothing")
    assert sys.modules["torch"] is torch, "importing torch a second time crashes the process"
