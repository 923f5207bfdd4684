"""The engine: shapes, seeds, schedules, recipes that cannot work, and the teacher, which it does not change."""

from __future__ import annotations

import pytest
import torch

from dreamdistill.invert.engine import DivergedError, Engine, batch_seed
from dreamdistill.invert.recipe import RECIPES, Recipe, find_recipe
from dreamdistill.shared.core.errors import ConfigError
from dreamdistill.shared.core.numerics import lr_factor
from dreamdistill.shared.models.checkpoints import weights_sha256
from dreamdistill.shared.models.classifier import Classifier, load_model

TARGETS = torch.arange(8) % 10
SHORT = Recipe(steps=(5,), lr=0.1, alpha_feature=1.0, alpha_tv=1e-3, jitter=1, flip=True)


@pytest.fixture(scope="module")
def teacher() -> Classifier:
    return load_model("digits_cnn")


def test_same_seed_same_images_other_seed_other_images(teacher: Classifier) -> None:
    first, again, other = (Engine(teacher, SHORT).synthesize(TARGETS, seed=seed).x for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_optimisation_lowers_the_loss_and_reaches_the_targets(teacher: Classifier) -> None:
    recipe = RECIPES["cifar10-deepinversion"].changed(
        {"steps": (150,), "lr": 0.1, "alpha_feature": 1.0, "alpha_compete": 0.0, "jitter": 0}
    )
    seen: list[dict[str, float]] = []
    made = Engine(teacher, recipe).synthesize(TARGETS, seed=0, progress=lambda fraction, terms: seen.append(terms))
    assert made.losses["class"] < 0.2  # noise starts at 5 to 7
    assert made.losses["feature"] < seen[0]["feature"]
    assert (teacher.network(made.x).argmax(1) == TARGETS).float().mean() >= 0.75


def test_the_teacher_is_left_as_it_was(teacher: Classifier) -> None:
    before = weights_sha256(teacher.network)
    Engine(teacher, SHORT).synthesize(TARGETS, seed=0)
    assert weights_sha256(teacher.network) == before
    assert all(parameter.grad is None for parameter in teacher.network.parameters())


def test_low_resolutions_optimise_smaller_images(teacher: Classifier) -> None:
    sizes: list[int] = []
    handle = teacher.network.register_forward_pre_hook(lambda _, inputs: sizes.append(inputs[0].shape[-1]))
    engine = Engine(teacher, SHORT.changed({"steps": (2, 3), "scales": (0.5, 1.0)}))
    sizes.clear()  # the engine has tried each size once
    made = engine.synthesize(TARGETS, seed=0)
    handle.remove()
    assert sizes == [4, 4, 8, 8, 8]
    assert made.x.shape == (8, 1, 8, 8)


def test_clip_keeps_valid_pixels(teacher: Classifier) -> None:
    x = Engine(teacher, SHORT.changed({"clip": True, "lr": 5.0})).synthesize(TARGETS, seed=0).x
    low, high = teacher.preprocessing.valid_range(x.device)
    assert (x >= low).all()
    assert (x <= high).all()


def test_the_noise_recipe_optimises_nothing(teacher: Classifier) -> None:
    made = Engine(teacher, RECIPES["noise"]).synthesize(TARGETS.repeat(64), seed=0)
    assert made.losses == {}
    assert made.x.mean().abs() < 0.02
    assert made.x.std() == pytest.approx(1, abs=0.02)


def test_divergence_is_an_error(teacher: Classifier) -> None:
    with pytest.raises(DivergedError, match="NaN or infinite"):
        Engine(teacher, SHORT.changed({"lr": 1e30})).synthesize(TARGETS, seed=0)


def test_competition_makes_student_and_teacher_disagree(teacher: Classifier) -> None:
    student = load_model("digits_cnn_small", weights="none").network
    recipe = Recipe(steps=(60,), lr=0.1, alpha_class=0.0, alpha_compete=1.0)
    seen: list[float] = []
    Engine(teacher, recipe, student).synthesize(
        TARGETS, seed=0, progress=lambda fraction, terms: seen.append(terms["compete"])
    )
    assert seen[-1] < seen[0]


def test_batch_seeds_do_not_collide() -> None:
    places = [(r, s, b, a) for r in range(3) for s in range(20) for b in range(4) for a in range(3)]
    seeds = {batch_seed(seed=0, round=r, shard=s, batch=b, attempt=a) for r, s, b, a in places}
    assert len(seeds) == len(places)


def test_a_resolution_too_small_for_the_teacher_is_refused() -> None:
    small = load_model("cifar_vgg11_bn", weights="none")
    with pytest.raises(ConfigError, match=r"--scales 0\.25"):
        Engine(small, SHORT.changed({"steps": (1,), "scales": (0.25, 1.0)}))


def test_learning_rate_factor() -> None:
    assert [lr_factor(step, 10, warmup=2) for step in (0, 1, 2)] == [0.5, 1.0, 1.0]
    assert lr_factor(6, 10, warmup=2) == pytest.approx(0.5)
    assert lr_factor(10, 10, warmup=2) == pytest.approx(0.0)
    assert lr_factor(7, 10, cosine=False) == 1.0


def test_published_weights_are_converted_at_the_published_batch_size() -> None:
    cifar, imagenet = RECIPES["cifar10-deepinversion"], RECIPES["imagenet-deepinversion"]
    assert cifar.alpha_tv == pytest.approx(2.5e-5 * 256**0.5)
    assert imagenet.alpha_tv == pytest.approx(1e-4 * 84**0.5, rel=1e-3)
    assert [(r.steps, r.size, r.jitter) for r in imagenet.resolutions(224)] == [(2000, 112, 15), (1000, 224, 30)]
    assert RECIPES["cifar10-deepdream"].alpha_feature == 0


def test_jitter_of_an_eighth_depends_on_the_size() -> None:
    recipe = RECIPES["natural"]
    assert [recipe.resolutions(size)[0].jitter for size in (8, 32, 224)] == [1, 4, 28]
    assert recipe.changed({"jitter": 3}).resolutions(32)[0].jitter == 3


@pytest.mark.parametrize(("size", "name"), [(32, "natural"), (224, "imagenet-deepinversion")])
def test_the_auto_recipe_depends_on_the_image_size(size: int, name: str) -> None:
    assert find_recipe("auto", size)[0] == name


@pytest.mark.parametrize(
    "changes",
    [
        {"steps": (-1,)},
        {"scales": (1.0, 0.5)},
        {"steps": (1, 2)},
        {"lr": 0.0},
        {"betas": (0.9,)},
        {"alpha_tv": -1.0},
        {"alpha_class": 0.0},
        {"batch_size": 0},
    ],
)
def test_invalid_recipes_are_refused(changes: dict[str, object]) -> None:
    with pytest.raises(ConfigError):
        Recipe(steps=(5,)).changed(changes)
