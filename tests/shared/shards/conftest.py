"""Two small shard folders of random images: grey PNGs of 8 px and colour JPEGs of 96 px."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from dreamdistill.invert.config import InvertConfig
from dreamdistill.invert.stage import run
from dreamdistill.shared.shards.folder import ShardFolder


def make(folder: Path, **settings: Any) -> ShardFolder:
    """26 images in shards of 10."""
    run(InvertConfig(out=folder, recipe="noise", images=26, shard_size=10, workers=1, **settings))
    return ShardFolder.open(folder)


@pytest.fixture(scope="session")
def grey(tmp_path_factory: pytest.TempPathFactory) -> ShardFolder:
    folder = make(tmp_path_factory.mktemp("grey") / "shards", teacher="digits_cnn")
    assert folder.manifest.rounds[0].format == "png"
    return folder


@pytest.fixture(scope="session")
def jpeg(tmp_path_factory: pytest.TempPathFactory) -> ShardFolder:
    folder = make(tmp_path_factory.mktemp("jpeg") / "shards", teacher="cifar_resnet20", weights="none", image_size=96)
    assert folder.manifest.rounds[0].format == "jpg"
    return folder
