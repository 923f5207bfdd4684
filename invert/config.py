"""What ``di-invert`` takes. Knows no torch, so that ``--help`` is quick."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..shared.core.config import StageConfig, overlay, setting
from ..shared.core.errors import ConfigError
from .recipe import Recipe


@dataclass(frozen=True, slots=True, kw_only=True)
class InvertConfig(StageConfig):
    """What ``di-invert`` takes; ``changes`` holds the settings of the recipe that replace the preset's."""

    out: Path = setting(Path("shards"), help="shard folder to write, or to go on with")
    teacher: str = setting(
        help="torchvision name, timm/NAME, one of our own, a saved model's folder, or FILE.py:factory"
    )
    weights: str | None = setting(None, help="weights file, torchvision weights entry, or none for random weights")
    num_classes: int | None = setting(None, help="classes of the teacher, where its name leaves them open")
    mean: tuple[float, ...] | None = setting(None, help="input mean, R,G,B (or one number: grey images), range 0..1")
    std: tuple[float, ...] | None = setting(None, help="input standard deviation, like --mean")
    image_size: int | None = setting(None, help="side of the images in pixels [default: what the weights say]")
    recipe: str = setting("auto", help="preset of all settings below that are not given; auto goes by image size")
    changes: Mapping[str, Any] = overlay(Recipe)
    images: int = setting(1024, help="images to make")
    shard_size: int | None = setting(None, help="images a shard [default: whole batches, 256 or more]")
    classes: tuple[int, ...] | None = setting(None, help="make images of these classes alone [default: all]")
    format: str = setting("auto", help="image files; auto is png up to 64 px", choices=("auto", "png", "jpg"))
    compete_with: str | None = setting(
        None, help="saved model that the images are to divide from the teacher (R_compete)"
    )
    append: bool = setting(False, help="add a round with another recipe or seed to a folder that has images")
    compile: str = setting(
        "auto",
        help="torch.compile the step; auto: where the run is long enough to repay it",
        choices=("auto", "on", "off"),
    )
    precision: str = setting(
        "auto", help="of the networks; auto: bfloat16 where it is faster", choices=("auto", "float32", "bfloat16")
    )
    workers: int | None = setting(None, help="worker processes, or auto: one a GPU, or one a core [default: auto]")
    threads: int = setting(1, help="CPU threads of each worker; part of the recipe, since sums depend on it")
    engine: str = setting("local", help="this machine's processes, or a Ray cluster", choices=("local", "ray"))
    address: str | None = setting(None, help="of the Ray cluster: auto, HOST:PORT or ray://... [default: a local one]")
    rank: int | None = setting(None, help="make this share of the shards [default: torchrun's or SLURM's, or all]")
    world: int | None = setting(None, help="number of shares; goes with --rank")
    grace: float = setting(20.0, help="seconds that shards in hand get to finish after SIGTERM or SIGUSR2")

    def __post_init__(self) -> None:
        # Called by name: zero-argument super() does not work in a dataclass with slots.
        StageConfig.__post_init__(self)
        for name in ("images", "shard_size", "workers", "threads", "num_classes"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ConfigError(f"--{name.replace('_', '-')} must be 1 or more")
        if self.grace < 0:
            raise ConfigError("--grace must be 0 or more")
        if self.address and self.engine != "ray":
            raise ConfigError("--address is of a Ray cluster, and goes with --engine ray")
        if self.workers and self.engine == "ray":
            raise ConfigError("--workers is of this machine's engine; a Ray cluster has as many as fit on its nodes")
        if self.append and self.overwrite:
            raise ConfigError("--append and --overwrite exclude each other")
