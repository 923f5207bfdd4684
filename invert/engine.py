"""The inversion engine: one batch of noise in, one batch of images out."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim.lr_scheduler import LambdaLR

from ..shared.core.errors import ConfigError, DreamError
from ..shared.core.launch import Rows
from ..shared.core.numerics import derive_seed, generator, lr_factor
from ..shared.data.augment import random_flip, random_window
from ..shared.models.classifier import Classifier, count_outputs
from ..shared.models.features import batchnorm_layers
from .execution import EAGER, Execution, Log, compiled
from .objective import Objective
from .parametrization import Basis, make_basis
from .recipe import Recipe

READ_EVERY = 25  # steps between reading the loss terms, which waits for the device (host sync)

Progress = Callable[[float, dict[str, float]], None]


class DivergedError(DreamError):
    """The optimisation ran into NaN or infinity; another seed may not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Synthesis:
    """x: images in the teacher's normalised space, (N, C, H, W); losses: final value of each unweighted term."""

    x: Tensor
    losses: dict[str, float]


class Engine:
    """Makes batches by one recipe from one teacher.

    Args:
        student: the network that ``alpha_compete`` competes against, frozen, in eval mode.
        execution: how the step is run.
        log: called with a line for the user: what compiling took, or that it failed.

    Raises:
        ConfigError: the recipe cannot work with this teacher.
    """

    def __init__(
        self,
        teacher: Classifier,
        recipe: Recipe,
        student: nn.Module | None = None,
        *,
        execution: Execution = EAGER,
        log: Log = lambda line: None,
    ) -> None:
        check_recipe(teacher, recipe)
        self.teacher = teacher
        self.recipe = recipe
        self.device = next(teacher.network.parameters()).device
        self.network = teacher.network.to(memory_format=torch.channels_last)
        self.valid_range = teacher.preprocessing.valid_range(self.device)
        objective = Objective(recipe, self.network, student=student, precision=execution.precision)
        self.step = compiled(objective, self.device, log) if execution.compile else objective

    def synthesize(self, targets_N: Tensor, *, seed: int, progress: Progress | None = None) -> Synthesis:
        """Optimise one batch.

        Args:
            targets_N: the class that each image is to be, int64. A compiled step is compiled anew for another N.
            seed: of the first noise, the shifts and the flips.
            progress: called with the share of this batch's steps done, 0 to 1, and the loss terms.

        Raises:
            DivergedError: the loss or the images are not finite.
        """
        stages = self.recipe.stages(self.teacher.preprocessing.image_size)
        total = max(1, sum(steps for steps, _, _ in stages))
        draw = generator(self.device, seed)
        shifts = generator(torch.device("cpu"), seed, 1)  # on the host, so that a shift costs no host sync
        targets_N = targets_N.to(self.device)
        losses: dict[str, float] = {}
        done = margin = size = 0
        x: Tensor | None = None
        for steps, size, jitter in stages:
            margin = jitter if self.recipe.shift == "window" else 0
            canvas = size + 2 * margin
            basis = self._basis(canvas)
            moved = basis.start(len(targets_N), draw) if x is None else basis.coordinates(_resized(x, canvas))
            moved.requires_grad_()
            optimizer = torch.optim.Adam([moved], lr=self.recipe.lr, betas=self.recipe.betas, fused=True)  # type: ignore[arg-type]
            scheduler = LambdaLR(optimizer, lambda step, steps=steps: self._lr_factor(step, steps))
            for step in range(steps):
                x = basis.images(moved)
                view = self._view(x, size, jitter, draw, shifts)
                loss, terms = self.step(x, view, targets_N)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                scheduler.step()
                if self.recipe.clip:
                    self._clip(moved, basis)
                done += 1
                if done % READ_EVERY == 0 or step == steps - 1:
                    losses = _read(terms, done)
                    if progress is not None:
                        progress(done / total, losses)
            x = basis.images(moved).detach()
        assert x is not None
        x = x[:, :, margin : margin + size, margin : margin + size]
        if not bool(x.isfinite().all()):
            raise DivergedError(f"the images became NaN or infinite by step {done}")
        return Synthesis(x=x, losses=losses)

    def _basis(self, size: int) -> Basis:
        channels = self.teacher.preprocessing.channels
        return make_basis(self.recipe.parametrization, channels, size, self.device, falloff=self.recipe.falloff)

    def _lr_factor(self, step: int, steps: int) -> float:
        return lr_factor(step, steps, warmup=self.recipe.warmup, cosine=self.recipe.schedule == "cosine")

    def _view(self, x: Tensor, size: int, jitter: int, draw: torch.Generator, shifts: torch.Generator) -> Tensor:
        """What the networks see of the images this time, of side ``size``."""
        rows = Rows(len(x))
        if jitter and self.recipe.shift == "batch":
            down, right = torch.randint(-jitter, jitter + 1, (2,), generator=shifts).tolist()
            x = x.roll((down, right), dims=(2, 3))
        elif jitter:
            x = random_window(x, rows, size, generator=draw)
        if self.recipe.flip:
            x = random_flip(x, rows, generator=draw)
        return x.contiguous(memory_format=torch.channels_last)

    @torch.no_grad()
    def _clip(self, moved: Tensor, basis: Basis) -> None:
        low, high = self.valid_range
        moved.copy_(basis.coordinates(torch.minimum(torch.maximum(basis.images(moved), low), high)))


def check_recipe(teacher: Classifier, recipe: Recipe) -> None:
    """Refuse a recipe that this teacher cannot follow.

    Raises:
        ConfigError: R_feature without BatchNorm statistics to match, or a stage too small for the network.
    """
    if recipe.alpha_feature and not batchnorm_layers(teacher.network):
        raise ConfigError(
            f"{teacher.name} has no BatchNorm layer with running statistics, so DeepInversion has nothing to match:"
            " --recipe cifar10-deepdream, --recipe noise or --alpha-feature 0 still work"
        )
    for scale, (_, size, _) in zip(recipe.scales, recipe.stages(teacher.preprocessing.image_size), strict=True):
        try:
            count_outputs(teacher.network, replace(teacher.preprocessing, image_size=size), teacher.name)
        except ConfigError as error:
            raise ConfigError(f"--scales {scale} does not work: {error}") from error


def batch_seed(*, seed: int, round: int, shard: int, batch: int, attempt: int) -> int:
    """Seed of one batch, a function of its place alone, so that any worker makes the same images."""
    return derive_seed(seed, round, shard, batch, attempt)


def _resized(x: Tensor, size: int) -> Tensor:
    if x.shape[-1] == size:
        return x
    return F.interpolate(x, size=(size, size), mode="bilinear", align_corners=False)


def _read(terms: dict[str, Tensor], step: int) -> dict[str, float]:
    values = torch.stack(list(terms.values())).tolist()  # host sync
    if not all(math.isfinite(value) for value in values):
        raise DivergedError(f"the loss became NaN or infinite by step {step}")
    return dict(zip(terms, values, strict=True))
