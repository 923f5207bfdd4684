"""How many images and steps fit into the time, for one network on one machine.

A step of each kind is timed, and the time divided: a third for the images, the rest for the repair, after what the
pruning and the measurements need. More time than the most of both is not used up.
"""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass, replace

from ...distill.criterion import Distillation
from ...distill.estimate import seconds_a_step
from ...distill.recipe import REPAIR, STEPS
from ...invert.config import InvertConfig
from ...invert.estimate import estimate
from ...invert.inputs import Inputs, load_inputs, with_recipe
from ...invert.plan import IMAGES_PER_SHARD, make_plan, place_round
from ...invert.recipe import Recipe
from ...prune.config import PruneConfig
from ...prune.job import plan_for
from ...prune.units import Latency, unit_of
from ...shared.core.config import from_mapping
from ...shared.core.errors import ConfigError
from ...shared.data.accuracy import check_first
from ...shared.export.onnx_file import require_onnx
from ...shared.models.cost import MACS_PER_SECOND
from .config import IMAGES, CompressConfig

SLOW, FAST = "imagenet-deepinversion", "natural-large"  # the default above 64 px; a tenth of its steps and less
USED = 0.85  # of the time: a machine may have more to do later than while it was timed
IMAGES_SHARE = 1 / 3  # of the time, for the images
FEWEST, ENOUGH = 64, 256  # images; where the second does not fit, each image gets fewer steps
SHORTENED = (1.0, 0.5, 0.25)  # shares of the recipe's steps
FEWEST_STEPS = 60  # of the repair
MEASURED = 8  # times that the images of --eval are shown to a network in the whole run
FIXED = 45.0  # seconds for what does not grow: starting, exporting, timing, the page
VALUING = 200  # batches that pass through the network for values and least squares, about


@dataclass(frozen=True, slots=True, kw_only=True)
class Rates:
    """What things cost on this machine, in seconds.

    Attributes:
        image: by the whole recipe, in one of the workers.
        step: of the repair.
        rest: all else.
        workers: that make shards at once.
    """

    image: float
    step: float
    rest: float
    workers: int

    def seconds_for_images(self, images: int) -> float:
        """Shards are made side by side, as many at once as there are workers."""
        turns = math.ceil(math.ceil(images / IMAGES_PER_SHARD) / self.workers)
        return turns * min(images, IMAGES_PER_SHARD) * self.image


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """What is to be made.

    Attributes:
        shortened: share of the recipe's steps that each image gets.
        steps: of the repair.
        epochs: the passes over the images that they are.
        seconds: that all of it is expected to take.
    """

    images: int
    shortened: float
    steps: int
    epochs: int
    seconds: float


def choose(rates: Rates, *, seconds: float, num_classes: int) -> Choice:
    """The most images and steps that fit.

    Raises:
        ConfigError: nothing useful fits; the minutes that would do are named.
    """
    left = USED * seconds - rates.rest
    most = max(1024, 16 * num_classes)
    tries = [(images, share) for share in SHORTENED for images in range(most, ENOUGH - 1, -IMAGES_PER_SHARD)]
    tries += [(images, SHORTENED[-1]) for images in range(ENOUGH, FEWEST - 1, -REPAIR.batch_size)]

    def seconds_for(images: int, share: float) -> float:
        return share * rates.seconds_for_images(images)

    images, share = next((each for each in tries if seconds_for(*each) <= IMAGES_SHARE * left), tries[-1])
    a_pass = math.ceil(images / REPAIR.batch_size)
    steps = min(STEPS, int((left - seconds_for(images, share)) / rates.step))
    least = rates.rest + max(
        seconds_for(*tries[-1]) / IMAGES_SHARE, seconds_for(*tries[-1]) + FEWEST_STEPS * rates.step
    )
    if USED * seconds < least:
        raise ConfigError(
            f"--minutes {seconds / 60:g} is too little for this network on this machine: it needs"
            f" {math.ceil(least / USED / 60)}, or a faster machine"
        )
    epochs = max(1, steps // a_pass)
    return Choice(
        images=images,
        shortened=share,
        steps=epochs * a_pass,
        epochs=epochs,
        seconds=round(rates.rest + seconds_for(images, share) + epochs * a_pass * rates.step, 1),
    )


def examine(config: CompressConfig) -> tuple[Inputs, Rates]:
    """Load and check all that the run takes, before the work, and time it.

    Raises:
        ConfigError: the teacher cannot be inverted, pruned to the target or measured, or a package is missing.
    """
    require_onnx()
    inputs = load_inputs(invert_config(config))
    if inputs.recipe_name == SLOW:
        inputs = with_recipe(inputs, FAST)
    teacher, device = inputs.teacher, next(inputs.teacher.network.parameters()).device
    if inputs.images:
        check_first(inputs.images, teacher.preprocessing)
    option, share = config.budget
    prune = from_mapping(PruneConfig, {"latency_batch": config.latency_batch, option: share})
    example_NCHW = teacher.preprocessing.noise(device)
    clock = Latency(batch=config.latency_batch, device=device)
    budget = replace(prune.budget, written="--target {}={:g}")
    plan_for(teacher, prune, example_NCHW, unit_of(budget, clock), budget=budget)
    return inputs, _rates(inputs, config)


def chosen_recipe(inputs: Inputs, choice: Choice) -> Recipe:
    """The recipe with the steps that each image gets."""
    return inputs.recipe.changed(
        {"steps": tuple(max(1, round(choice.shortened * steps)) for steps in inputs.recipe.steps)}
    )


def invert_config(config: CompressConfig) -> InvertConfig:
    """How the images are made, but for their number."""
    return InvertConfig(
        **config.teacher_options,
        out=config.out / IMAGES,
        eval=config.eval,
        workers=config.workers,
        device=config.device,
        code=config.code,
        seed=config.seed,
    )


def _rates(inputs: Inputs, config: CompressConfig) -> Rates:
    teacher = inputs.teacher
    found = estimate(inputs, make_plan(inputs, *place_round(inputs)))
    passes = VALUING * REPAIR.batch_size + MEASURED * ((inputs.images and inputs.images.count) or 0)
    # Rates are those of steps, forward and backward, of which a forward pass is a third.
    forward = teacher.macs / MACS_PER_SECOND[next(teacher.network.parameters()).device.type] / 3
    return Rates(
        image=found["seconds"] * found["workers"] / found["images"],
        step=_seconds_a_step(inputs),
        rest=FIXED + passes * forward,
        workers=found["workers"],
    )


def _seconds_a_step(inputs: Inputs) -> float:
    """A step of a student that is as large as the teacher: what is left of it will be faster."""
    teacher, student = inputs.teacher, copy.deepcopy(inputs.teacher.network).requires_grad_(True)
    example_NCHW = teacher.preprocessing.blank(1, next(student.parameters()).device)
    criterion = Distillation.of(REPAIR, student=student, teacher=teacher.network, example_NCHW=example_NCHW)
    return seconds_a_step(
        student,
        teacher.network,
        criterion,
        views=criterion.views(REPAIR, teacher.preprocessing),
        training=REPAIR,
        preprocessing=teacher.preprocessing,
        num_classes=teacher.num_classes,
        images=REPAIR.batch_size,
    )
