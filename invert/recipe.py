"""What makes an image: the objective's weights and the optimiser's settings, and the published recipes by name.

Weights follow the definitions in :mod:`.objective`, where every term is a mean over images. The released DeepInversion
code takes one total variation norm over the whole batch instead, which is about sqrt(N) times as large, so its
weight is multiplied by sqrt(N) of the published batch here: 2.5e-5 * sqrt(256) and 1e-4 * sqrt(84).
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..shared.core.config import setting
from ..shared.core.errors import ConfigError, nearest


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """Settings of one way to make images. A stage is one optimisation at one resolution; stages follow one another."""

    steps: tuple[int, ...] = setting(help="optimisation steps of each stage, or one number for all; 0 leaves noise")
    scales: tuple[float, ...] = setting((1.0,), help="image side of each stage, as a share of the teacher's")
    batch_size: int = setting(256, help="images optimised together, whose statistics are matched together")
    lr: float = setting(0.05, help="learning rate of Adam, at its highest")
    betas: tuple[float, ...] = setting((0.9, 0.999), help="Adam's two decay rates")
    warmup: int = setting(0, help="steps of linear warm-up in each stage")
    schedule: str = setting("constant", help="learning rate after the warm-up", choices=("constant", "cosine"))
    alpha_class: float = setting(1.0, help="weight of the cross-entropy to the target class")
    alpha_tv: float = setting(0.0, help="weight of the total variation")
    alpha_l2: float = setting(0.0, help="weight of the images' L2 norm")
    alpha_feature: float = setting(0.0, help="weight of the distance to the BatchNorm statistics")
    alpha_compete: float = setting(0.0, help="weight of the competition against --compete-with")
    alpha_similar: float = setting(0.0, help="weight of the likeness of two images of one class, in the last features")
    statistics: str = setting(
        "absolute",
        help="distances to the BatchNorm statistics: as they are, summed, or relative to the layer's own, averaged",
        choices=("absolute", "relative"),
    )
    first_bn: float = setting(1.0, help="factor on the first BatchNorm layer's distance")
    compete_temperature: float = setting(3.0, help="temperature of the competition")
    parametrization: str = setting(
        "pixels",
        help="what Adam moves: pixels, or their spectrum, scaled as that of natural images",
        choices=("pixels", "spectrum"),
    )
    falloff: float = setting(1.0, help="of the spectrum's amplitudes: 1/f to this power")
    jitter: int | None = setting(
        0, help="largest shift before each step, in pixels at full size; auto: an eighth of it"
    )
    shift: str = setting(
        "batch",
        help="batch: all alike, around the edges; window: each by itself, on a canvas larger by the shift",
        choices=("batch", "window"),
    )
    flip: bool = setting(False, help="flip each image at random before each step")
    clip: bool = setting(False, help="clip to valid pixels after each step")

    def __post_init__(self) -> None:
        _check(self.steps and min(self.steps) >= 0, "--steps must be 0 or more")
        _check(self.scales and min(self.scales) > 0 and max(self.scales) <= 1, "--scales must lie above 0 and up to 1")
        _check(self.scales[-1] == 1, "--scales must end with 1, the size that the teacher takes")
        _check(len(self.steps) in (1, len(self.scales)), f"--steps takes 1 or {len(self.scales)} numbers, one a stage")
        _check(self.batch_size >= 1, "--batch-size must be 1 or more")
        _check(self.lr > 0, "--lr must be above 0")
        _check(len(self.betas) == 2 and all(0 <= b < 1 for b in self.betas), "--betas takes two numbers in [0, 1)")
        _check(self.warmup >= 0 and (self.jitter or 0) >= 0, "--warmup and --jitter must be 0 or more")
        _check(0 <= self.falloff <= 4, "--falloff must lie between 0 and 4")
        _check(self.compete_temperature > 0, "--compete-temperature must be above 0")
        weights = {name: getattr(self, name) for name in self.__slots__ if name.startswith("alpha_")}
        for name, weight in weights.items():
            _check(weight >= 0 and math.isfinite(weight), f"--{name.replace('_', '-')} must be 0 or more")
        _check(any(weights.values()) or not any(self.steps), "every term of the objective has weight 0")

    def stages(self, image_size: int) -> list[tuple[int, int, int]]:
        """(steps, image side, jitter) of each stage, lengths in pixels; the jitter shrinks with the image."""
        steps = self.steps * len(self.scales) if len(self.steps) == 1 else self.steps
        jitter = image_size // 8 if self.jitter is None else self.jitter
        return [
            (count, max(1, round(image_size * scale)), round(jitter * scale))
            for count, scale in zip(steps, self.scales, strict=True)
        ]

    def changed(self, changes: Mapping[str, Any]) -> Recipe:
        """This recipe with some settings replaced."""
        return dataclasses.replace(self, **changes)


def _check(condition: object, message: str) -> None:
    if not condition:
        raise ConfigError(message)


_CIFAR10 = Recipe(steps=(2000,), alpha_tv=4e-4, alpha_l2=3e-8, jitter=2)

# Ours, at a tenth of the published steps; docs/accuracy.md has the evidence. The spectrum of natural images takes
# the place of the priors; views differ from image to image; images of one class are kept apart, or they would all show
# the same evidence; statistics are in each layer's own units, so that no weight is of one network.
_NATURAL = Recipe(
    steps=(200,),
    lr=0.2,
    schedule="cosine",
    alpha_feature=30.0,
    alpha_similar=3.0,
    alpha_compete=1.0,
    statistics="relative",
    parametrization="spectrum",
    jitter=None,
    shift="window",
    flip=True,
)

RECIPES: dict[str, Recipe] = {
    # Not optimised at all: normal noise with the teacher's logits, the baseline that inversion has to beat.
    "noise": Recipe(steps=(0,)),
    "cifar10-deepdream": _CIFAR10,
    "cifar10-deepinversion": _CIFAR10.changed({"alpha_feature": 10.0, "alpha_compete": 10.0}),
    "natural": _NATURAL,
    # Half size first. A steeper spectrum, smaller steps and bounds: fine detail comes out too strong at this size.
    "natural-large": _NATURAL.changed(
        {
            "steps": (300, 90),
            "scales": (0.5, 1.0),
            "batch_size": 84,
            "lr": 0.1,
            "falloff": 1.5,
            "alpha_tv": 0.003,
            "alpha_feature": 100.0,
            "clip": True,
        }
    ),
    "imagenet-deepinversion": Recipe(
        steps=(2000, 1000),
        scales=(0.5, 1.0),
        batch_size=84,
        lr=0.25,
        betas=(0.5, 0.9),
        warmup=100,
        schedule="cosine",
        alpha_tv=9.17e-4,
        alpha_l2=1e-5,
        alpha_feature=0.01,
        alpha_compete=0.2,
        first_bn=10.0,
        jitter=30,
        flip=True,
        clip=True,
    ),
}


def find_recipe(name: str, image_size: int) -> tuple[str, Recipe]:
    """A preset by name; ``auto`` is ours up to 64 pixels, above that the published DeepInversion.

    The published one learns less at ten times the steps on CIFAR-10, and has not been compared on larger images.

    Raises:
        ConfigError: there is no such recipe.
    """
    if name == "auto":
        name = "natural" if image_size <= 64 else "imagenet-deepinversion"
    if name not in RECIPES:
        raise ConfigError(f"there is no recipe {name!r}{nearest(name, RECIPES)} (recipes: {', '.join(RECIPES)})")
    return name, RECIPES[name]
