"""What makes an image: the objective's weights and the optimiser's settings, and the published recipes by name.

Weights follow the definitions in :mod:`.objective`, where every term is a mean over images. The released DeepInversion
code takes one total variation norm over the whole batch instead, which is about sqrt(N) times as large, so its
weight is multiplied by sqrt(N) of the published batch here: 2.5e-5 * sqrt(256) and 1e-4 * sqrt(84).
"""

from __future__ import annotations

from dataclasses import dataclass

from ..shared.core.config import Settings, setting
from ..shared.core.errors import ConfigError, nearest

_OPTIMISER, _OBJECTIVE, _IMAGES = "Recipe: optimiser", "Recipe: objective", "Recipe: images"


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolution:
    """One optimisation of a recipe; a recipe's resolutions follow one another.

    Attributes:
        steps: optimisation steps.
        size: side of the images in pixels.
        jitter: largest shift in pixels.
    """

    steps: int
    size: int
    jitter: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe(Settings):
    """Settings of one way to make images."""

    steps: tuple[int, ...] = setting(
        help="optimisation steps at each resolution, or one number for all; 0 leaves noise", min=0, group=_OPTIMISER
    )
    scales: tuple[float, ...] = setting(
        (1.0,),
        help="resolutions one after the other, each as a share of the teacher's image side; the last is 1",
        above=0,
        max=1,
        group=_OPTIMISER,
    )
    batch_size: int = setting(
        256, help="images optimised together, whose statistics are matched together", min=1, group=_OPTIMISER
    )
    lr: float = setting(0.05, help="highest learning rate of Adam", above=0, group=_OPTIMISER)
    betas: tuple[float, ...] = setting((0.9, 0.999), help="Adam's two decay rates", min=0, below=1, group=_OPTIMISER)
    warmup: int = setting(0, help="steps of linear warm-up at each resolution", min=0, group=_OPTIMISER)
    schedule: str = setting(
        "constant", help="learning rate after the warm-up", choices=("constant", "cosine"), group=_OPTIMISER
    )
    alpha_class: float = setting(1.0, help="weight of the cross-entropy to the target class", min=0, group=_OBJECTIVE)
    alpha_tv: float = setting(0.0, help="weight of the total variation", min=0, group=_OBJECTIVE)
    alpha_l2: float = setting(0.0, help="weight of the images' L2 norm", min=0, group=_OBJECTIVE)
    alpha_feature: float = setting(
        0.0, help="weight of the distance to the BatchNorm statistics", min=0, group=_OBJECTIVE
    )
    alpha_compete: float = setting(
        0.0, help="weight of the competition against --compete-with", min=0, group=_OBJECTIVE
    )
    alpha_similar: float = setting(
        0.0,
        help="weight of the similarity of two images of one class, in the last features",
        min=0,
        group=_OBJECTIVE,
    )
    statistics: str = setting(
        "absolute",
        help="distances to the BatchNorm statistics: as they are, summed, or relative to the layer's own, averaged",
        choices=("absolute", "relative"),
        group=_OBJECTIVE,
    )
    first_bn: float = setting(1.0, help="factor on the first BatchNorm layer's distance", group=_OBJECTIVE)
    compete_temperature: float = setting(3.0, help="temperature of the competition", above=0, group=_OBJECTIVE)
    parametrization: str = setting(
        "pixels",
        help="what Adam moves: pixels, or their spectrum, scaled as that of natural images",
        choices=("pixels", "spectrum"),
        group=_IMAGES,
    )
    falloff: float = setting(1.0, help="exponent p of the spectrum's amplitudes, 1/f^p", min=0, max=4, group=_IMAGES)
    jitter: int | None = setting(
        0, help="largest shift before each step, in pixels at full size; auto: an eighth of it", min=0, group=_IMAGES
    )
    shift: str = setting(
        "batch",
        help="batch: one shift for all images, around the edges; window: one for each, on a canvas larger by the shift",
        choices=("batch", "window"),
        group=_IMAGES,
    )
    flip: bool = setting(False, help="flip each image at random before each step", group=_IMAGES)
    clip: bool = setting(
        False,
        help="keep the images within the range of pixels in each step; otherwise storing clips what lies outside",
        group=_IMAGES,
    )

    def check(self) -> None:
        _require(self.steps, "--steps needs a number")
        _require(self.scales and self.scales[-1] == 1, "--scales must end with 1, the size that the teacher takes")
        _require(
            len(self.steps) in (1, len(self.scales)),
            f"--steps takes 1 or {len(self.scales)} numbers, one for each resolution",
        )
        _require(len(self.betas) == 2, "--betas takes two numbers")
        weights = [getattr(self, name) for name in self.__slots__ if name.startswith("alpha_")]
        _require(any(weights) or not any(self.steps), "every term of the objective has weight 0")

    def resolutions(self, image_size: int) -> list[Resolution]:
        """The resolutions for a teacher of this image side, in pixels; the jitter shrinks with the image."""
        steps = self.steps * len(self.scales) if len(self.steps) == 1 else self.steps
        jitter = image_size // 8 if self.jitter is None else self.jitter
        return [
            Resolution(steps=count, size=max(1, round(image_size * scale)), jitter=round(jitter * scale))
            for count, scale in zip(steps, self.scales, strict=True)
        ]


def _require(condition: object, message: str) -> None:
    if not condition:
        raise ConfigError(message)


_CIFAR10 = Recipe(steps=(2000,), alpha_tv=4e-4, alpha_l2=3e-8, jitter=2)

# Ours, at a tenth of the published steps; docs/research-log.md has the evidence. The spectrum of natural images takes
# the place of the priors on pixels. Views differ from image to image. Images of one class are kept apart, or they would
# all show the same evidence. Statistics are in each layer's own units, so that no weight depends on the network.
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
    clip=True,
)

RECIPES: dict[str, Recipe] = {
    # Not optimised: normal noise with the teacher's logits. It is the baseline that inversion has to beat.
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
    """A preset by name; ``auto`` is ``natural`` up to 64 pixels, and the published DeepInversion above.

    On CIFAR-10, students learn less from the published recipe at ten times the steps. On larger images the two have
    not been compared.

    Raises:
        ConfigError: there is no such recipe.
    """
    if name == "auto":
        name = "natural" if image_size <= 64 else "imagenet-deepinversion"
    if name not in RECIPES:
        raise ConfigError(f"there is no recipe {name!r}{nearest(name, RECIPES)} (recipes: {', '.join(RECIPES)})")
    return name, RECIPES[name]
