"""What ``di-invert`` takes. Knows no torch, so that ``--help`` is quick."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..shared.core.config import StageConfig, changes_to, setting
from ..shared.core.errors import ConfigError
from .recipe import Recipe

_SHARDS, _ADAPTIVE, _SPEED, _CLUSTER = "Shards", "Adaptive rounds", "Speed", "Workers and clusters"


@dataclass(frozen=True, slots=True, kw_only=True)
class InvertConfig(StageConfig):
    """What ``di-invert`` takes; ``changes`` holds the settings of the recipe that replace the preset's."""

    teacher: str = setting(
        help="torchvision name, timm/NAME, one of our own, a saved model's folder, or FILE.py:factory"
    )
    weights: str | None = setting(None, help="weights file, torchvision weights entry, or none for random weights")
    num_classes: int | None = setting(None, help="classes of the teacher, where its name leaves them open", min=1)
    mean: tuple[float, ...] | None = setting(None, help="input mean, R,G,B (or one number: grey images), range 0..1")
    std: tuple[float, ...] | None = setting(None, help="input standard deviation, like --mean")
    image_size: int | None = setting(None, help="side of the images in pixels", unset="what the weights say", min=1)
    out: Path = setting(Path("shards"), help="shard folder to write, or to go on with")
    images: int = setting(1024, help="number of images", min=1)
    eval: str | None = setting(
        None,
        help="real images to measure the teacher on first: a folder, tar, CSV or .npz, torchvision:NAME:ROOT,"
        " FILE.py:NAME, or digits",
        advanced=True,
    )
    recipe: str = setting(
        "auto", help="how images are made: natural, natural-large, imagenet-deepinversion, ...; auto goes by image size"
    )
    workers: int | None = setting(
        None, help="worker processes; auto: one for each GPU, or for each core", unset="auto", min=1
    )
    changes: Mapping[str, Any] = changes_to(Recipe, advanced=True)
    shard_size: int | None = setting(
        None,
        help="images in a shard",
        unset="whole batches, 256 or more",
        min=1,
        group=_SHARDS,
        advanced=True,
    )
    classes: tuple[int, ...] | None = setting(
        None, help="make images of these classes alone", unset="all", min=0, group=_SHARDS, advanced=True
    )
    class_names: Path | None = setting(
        None, help="text file with the name of each class, one in a line", group=_SHARDS, advanced=True
    )
    format: str = setting(
        "auto",
        help="image files; auto is png up to 64 px",
        choices=("auto", "png", "jpg"),
        group=_SHARDS,
        advanced=True,
    )
    append: bool = setting(
        False,
        help="add a round with another recipe or seed to a folder that has images",
        group=_ADAPTIVE,
        advanced=True,
    )
    compete_with: str | None = setting(
        None,
        help="saved student that the images are to tell from the teacher (R_compete)",
        group=_ADAPTIVE,
        advanced=True,
    )
    compile: str = setting(
        "auto",
        help="torch.compile the step; auto: where the run is long enough to repay it",
        choices=("auto", "on", "off"),
        group=_SPEED,
        advanced=True,
    )
    precision: str = setting(
        "auto",
        help="number format of the networks; auto: bfloat16 on GPUs, and in long runs on CPUs with AMX",
        choices=("auto", "float32", "bfloat16"),
        group=_SPEED,
        advanced=True,
    )
    threads: int = setting(
        1,
        help="CPU threads of each worker; part of the recipe, since sums depend on it",
        min=1,
        group=_SPEED,
        advanced=True,
    )
    engine: str = setting(
        "local",
        help="this machine's processes, or a Ray cluster",
        choices=("local", "ray"),
        group=_CLUSTER,
        advanced=True,
    )
    address: str | None = setting(
        None,
        help="address of the Ray cluster: auto, HOST:PORT or ray://...",
        unset="a local one",
        group=_CLUSTER,
        advanced=True,
    )
    rank: int | None = setting(
        None,
        help="make this share of the shards",
        unset="torchrun's or SLURM's, or all",
        min=0,
        group=_CLUSTER,
        advanced=True,
    )
    world: int | None = setting(None, help="number of shares; goes with --rank", min=1, group=_CLUSTER, advanced=True)
    grace: float = setting(
        20.0,
        help="seconds that unfinished shards get after SIGTERM or SIGUSR2",
        min=0,
        group=_CLUSTER,
        advanced=True,
    )

    def check(self) -> None:
        if self.address and self.engine != "ray":
            raise ConfigError("--address needs --engine ray: it is the address of a Ray cluster")
        if self.workers and self.engine == "ray":
            raise ConfigError("--workers goes with --engine local; a Ray cluster has as many as fit on its nodes")
        if self.append and self.overwrite:
            raise ConfigError("--append and --overwrite exclude each other")
