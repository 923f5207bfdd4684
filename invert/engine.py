"""The inversion engine: it optimises one batch of noise into one batch of images."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR

from ..shared.core.errors import ConfigError, DreamError
from ..shared.core.launch import Rows
from ..shared.core.numerics import derive_seed, generator, lr_factor
from ..shared.data.augment import random_flip, random_window
from ..shared.models.classifier import Classifier
from ..shared.models.layout import common_layout
from .execution import EAGER, Execution, Log, compiled
from .objective import Objective
from .parametrization import PARAMETRIZATIONS, Parametrization, within
from .priors import make_priors
from .recipe import Recipe

READ_EVERY = 25  # steps from one reading of the loss terms to the next: it waits for the device (host sync)

BatchProgress = Callable[[float, dict[str, float]], None]


class DivergedError(DreamError):
    """The optimisation reached NaN or infinity; with another seed it may not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Synthesis:
    """Images that were optimised together.

    Attributes:
        x: in the teacher's normalised space, (N, C, H, W).
        losses: final value of each unweighted term.
    """

    x: Tensor
    losses: dict[str, float]


class Engine:
    """Makes batches of images by one recipe from one teacher.

    Args:
        student: the network that ``alpha_compete`` competes against, frozen, in eval mode.
        execution: how the step is run.
        log: called with a line for the user: how long compiling took, or that it failed.

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
        networks = [teacher.network, student] if student is not None else [teacher.network]
        self.layout = common_layout(networks, teacher.preprocessing.blank(1, self.device))
        self.network = teacher.network.to(memory_format=self.layout)  # type: ignore[call-overload]
        self.valid_range = teacher.preprocessing.valid_range(self.device)
        objective = Objective(recipe, self.network, student=student, precision=execution.precision)
        self.step = compiled(objective, self.device, log) if execution.compile else objective

    def synthesize(self, targets_N: Tensor, *, seed: int, progress: BatchProgress | None = None) -> Synthesis:
        """Optimise one batch, at one resolution after the other.

        Args:
            targets_N: the class that each image is to show, int64. A compiled step is compiled again for another N.
            seed: of the first noise, the shifts and the flips.
            progress: called with the fraction of this batch's steps that are done, 0 to 1, and the loss terms.

        Raises:
            DivergedError: the loss or the images are not finite.
        """
        resolutions = self.recipe.resolutions(self.teacher.preprocessing.image_size)
        betas = self.recipe.betas[0], self.recipe.betas[1]
        total = max(1, sum(resolution.steps for resolution in resolutions))
        draw = generator(self.device, seed)
        shifts = generator(torch.device("cpu"), seed, 1)  # on the host, so that a shift costs no host sync
        targets_N = targets_N.to(self.device)
        losses: dict[str, float] = {}
        done = margin = size = 0
        parametrization: Parametrization | None = None
        for resolution in resolutions:
            steps, size, jitter = resolution.steps, resolution.size, resolution.jitter
            margin = jitter if self.recipe.shift == "window" else 0
            if parametrization is None:
                parametrization = self._noise(len(targets_N), size + 2 * margin, draw)
            else:
                parametrization.resize(size + 2 * margin)
            optimizer = torch.optim.Adam(parametrization.parameters(), lr=self.recipe.lr, betas=betas, fused=True)
            scheduler = LambdaLR(optimizer, lambda step, steps=steps: self._lr_factor(step, steps))
            for step in range(steps):
                x = self._images(parametrization)
                view = self._view(x, size, jitter, draw, shifts)
                loss, terms = self.step(x, view, targets_N)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                scheduler.step()
                done += 1
                if done % READ_EVERY == 0 or step == steps - 1:
                    losses = _read(terms, done)
                    if progress is not None:
                        progress(done / total, losses)
        assert parametrization is not None
        x = self._images(parametrization).detach()[:, :, margin : margin + size, margin : margin + size]
        if not bool(x.isfinite().all()):
            raise DivergedError(f"the images became NaN or infinite by step {done}")
        return Synthesis(x=x, losses=losses)

    def _noise(self, count: int, size: int, draw: torch.Generator) -> Parametrization:
        kind = PARAMETRIZATIONS[self.recipe.parametrization]
        preprocessing = self.teacher.preprocessing
        return kind.from_noise(count, size, recipe=self.recipe, preprocessing=preprocessing, generator=draw)

    def _images(self, parametrization: Parametrization) -> Tensor:
        x = parametrization.images()
        return within(x, *self.valid_range) if self.recipe.clip else x

    def _lr_factor(self, step: int, steps: int) -> float:
        return lr_factor(step, steps, warmup=self.recipe.warmup, cosine=self.recipe.schedule == "cosine")

    def _view(self, x: Tensor, size: int, jitter: int, draw: torch.Generator, shifts: torch.Generator) -> Tensor:
        """The images as the networks get them in this step: shifted and flipped, of side ``size``."""
        rows = Rows(len(x))
        if jitter and self.recipe.shift == "batch":
            down, right = torch.randint(-jitter, jitter + 1, (2,), generator=shifts).tolist()
            x = x.roll((down, right), dims=(2, 3))
        elif jitter:
            x = random_window(x, rows, size, generator=draw)
        if self.recipe.flip:
            x = random_flip(x, rows, generator=draw)
        return x.contiguous(memory_format=self.layout)


def check_recipe(teacher: Classifier, recipe: Recipe) -> None:
    """Refuse a recipe that cannot work with this teacher.

    Raises:
        ConfigError: the network lacks the layers that a prior measures, or a resolution is too small for it.
    """
    for prior in make_priors(recipe):
        if not prior.layers(teacher.network):
            raise ConfigError(
                f"{teacher.title} has no {prior.needs}, so DeepInversion has nothing to match:"
                f" --recipe cifar10-deepdream, --recipe noise or --alpha-{prior.name} 0 still work"
            )
    for scale, resolution in zip(recipe.scales, recipe.resolutions(teacher.preprocessing.image_size), strict=True):
        try:
            teacher.check_size(resolution.size)
        except ConfigError as error:
            raise ConfigError(f"--scales {scale} does not work: {error}") from error


def batch_seed(*, seed: int, round: int, shard: int, batch: int, attempt: int) -> int:
    """Seed of one batch. It depends on the batch's place alone, so that every worker makes the same images."""
    return derive_seed(seed, round, shard, batch, attempt)


def _read(terms: dict[str, Tensor], step: int) -> dict[str, float]:
    values = torch.stack(list(terms.values())).tolist()  # host sync
    if not all(math.isfinite(value) for value in values):
        raise DivergedError(f"the loss became NaN or infinite by step {step}")
    return dict(zip(terms, values, strict=True))
