"""The functions of the Python API. Each does what the command of its name does.

torch is imported when one of them is called, so that ``import dreamdistill`` and ``--help`` stay quick.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .shared.core.launch import require_alone

if TYPE_CHECKING:
    from torch import nn

    from .objects import Classifier, ShardFolder


def load(
    name: str | Path,
    *,
    weights: str | Path | None = None,
    num_classes: int | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    image_size: int | None = None,
    network: nn.Module | None = None,
    code: str | Path | Sequence[str | Path] = (),
    device: str = "auto",
) -> Classifier:
    """Load a classifier by name: a teacher, or what distilling and pruning saved.

    Args:
        name: torchvision name, ``timm/NAME``, one of our own, a saved model's folder, or ``FILE.py:factory``.
        weights: weights file, torchvision weights entry, or ``"none"`` for random weights.
        num_classes: where the name leaves them open.
        mean, std: of the input, one number for each channel, range 0 to 1; by default what the weights say.
        image_size: side of the input in pixels; by default what the weights say.
        network: a module of the architecture, for a folder that was saved from a module in memory.
        code: your own Python files that a saved model may name, wherever it says that they lie.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.

    Raises:
        ConfigError: the name is unknown (the nearest one is named), the weights do not fit or cannot be fetched, or a
            saved model names a Python file that you have not named before.
        DreamError: a saved model is damaged.
    """
    from .arguments import paths
    from .objects import Classifier
    from .shared.core.device import pick_device
    from .shared.models.classifier import load_model

    loaded = load_model(
        str(name),
        weights=None if weights is None else str(weights),
        num_classes=num_classes,
        mean=mean,
        std=std,
        image_size=image_size,
        network=network,
        code=paths(code),
        device=pick_device(device),
    )
    return Classifier.of(loaded, folder=Path(name) if Path(name).is_dir() else None)


def invert(
    teacher: Classifier | nn.Module | str | Path,
    *,
    out: str | Path = "shards",
    images: int = 1024,
    recipe: str = "auto",
    workers: int | None = None,
    weights: str | Path | None = None,
    num_classes: int | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    image_size: int | None = None,
    **options: Any,
) -> ShardFolder:
    """Make synthetic images from a teacher alone, as ``di-invert`` does. The same call again resumes a stopped run.

    Args:
        teacher: a classifier, a module in memory (with mean, std and image_size), or a name as for :func:`load`.
        out: shard folder to write, or to go on with.
        images: number of images.
        recipe: preset of how images are made; ``auto`` goes by image size.
        workers: worker processes; None takes one for each GPU, or for each core. A module in memory works with one.
        weights, num_classes, mean, std, image_size: of a teacher by name, as for :func:`load`.
        options: any other option of ``di-invert --help-all``, with underscores: ``steps=500``, ``seed=1``.

    Raises:
        ConfigError: an option is unknown or out of range, or the folder holds other images.
        PartialError: some shards were given up; the others are kept, and the same call again does the rest.
        DreamError: no shard could be made.
    """
    from .arguments import config_of, in_memory
    from .invert import stage
    from .invert.config import InvertConfig
    from .objects import ShardFolder

    description = {"mean": mean, "std": std, "image_size": image_size}
    given = in_memory(teacher, **description)
    named = {"weights": weights, "num_classes": num_classes, **description} if given is None else {}
    values = {
        "teacher": str(teacher) if given is None else given.title,
        "out": out,
        "images": images,
        "recipe": recipe,
        "workers": workers,
        **named,
        **options,
    }
    config = config_of(InvertConfig, values, "dreamdistill.invert()")
    stage.run(config, teacher=given)
    return ShardFolder.open(config.out, teacher=given)


def distill(
    shards: ShardFolder | str | Path,
    *,
    student: nn.Module | str | Path | None = None,
    teacher: Classifier | nn.Module | str | Path | None = None,
    out: str | Path = "runs/distill",
    epochs: int | None = None,
    batch_size: int | None = None,
    lr: float | None = None,
    flip: bool | None = None,
    eval: str | Path | None = None,
    **options: Any,
) -> Classifier:
    """Train a student on shards, as ``di-distill`` does. The same call again resumes a stopped run.

    Args:
        shards: a shard folder.
        student: architecture by name, as for :func:`load`, or a module in memory, which is trained in place and of
            which the weights are saved; None takes the teacher's architecture.
        teacher: the shards' teacher, where it cannot be loaded from its recorded place.
        out: folder for the student and its report.
        epochs, batch_size, lr: of the training; None takes the defaults of ``di-distill``.
        flip: mirror images at random; not for digits and letters.
        eval: labelled images to measure on, as for :meth:`Classifier.evaluate`.
        options: any other option of ``di-distill --help-all``, with underscores.

    Returns:
        The student; ``report`` has the keys of ``di-distill --json``.

    Raises:
        ConfigError: an option is unknown or out of range, or shards, student, teacher or images cannot be used.
        DreamError: the training failed.
    """
    from torch import nn

    from .arguments import config_of, module_of, saved_model, shards_and_teacher
    from .distill import stage
    from .distill.config import DistillConfig

    require_alone("dreamdistill.distill()")
    module = student if isinstance(student, nn.Module) else None
    path, given, name = shards_and_teacher(shards, teacher)
    values = {
        "shards": path,
        "teacher": name,
        "student": None if module is not None else student,
        "out": out,
        "epochs": epochs,
        "batch_size": batch_size,
        "lr": lr,
        "flip": flip,
        "eval": eval,
        **options,
    }
    config = config_of(DistillConfig, values, "dreamdistill.distill()")
    report = stage.run(config, teacher=given, student=module)
    assert report is not None, "of one process, the first is the only one"
    return saved_model(config, report, network=module or module_of(given))


def prune(
    shards: ShardFolder | str | Path,
    *,
    ratio: float | None = None,
    macs: float | None = None,
    params: float | None = None,
    teacher: Classifier | nn.Module | str | Path | None = None,
    out: str | Path = "runs/prune",
    epochs: int | None = None,
    batch_size: int | None = None,
    lr: float | None = None,
    flip: bool | None = None,
    eval: str | Path | None = None,
    **options: Any,
) -> Classifier:
    """Remove what the shards' teacher needs least, channels and blocks, and repair it, as ``di-prune`` does.

    The same call again resumes a stopped run. The teacher itself is left as it is.

    Args:
        shards: a shard folder, made from the network to prune.
        ratio: share of the filters to remove, above 0 and below 1; 0.3 where no other budget is given.
        macs, params: share of the multiply-adds, or of the parameters, that is left, in place of ``ratio``.
        teacher: the shards' teacher, where it cannot be loaded from its recorded place.
        out: folder for the pruned network and its report.
        epochs, batch_size, lr, flip: of the repair; None takes the defaults of ``di-prune``.
        eval: labelled images to measure on, as for :meth:`Classifier.evaluate`.
        options: any other option of ``di-prune --help-all``, with underscores.

    Returns:
        The pruned network; ``report`` has the keys of ``di-prune --json``.

    Raises:
        ConfigError: an option is unknown or out of range, or the architecture cannot be pruned.
        DreamError: the training failed.
    """
    from .arguments import config_of, module_of, saved_model, shards_and_teacher
    from .prune import stage
    from .prune.config import PruneConfig

    path, given, name = shards_and_teacher(shards, teacher)
    values = {
        "shards": path,
        "ratio": ratio,
        "macs": macs,
        "params": params,
        "teacher": name,
        "out": out,
        "epochs": epochs,
        "batch_size": batch_size,
        "lr": lr,
        "flip": flip,
        "eval": eval,
        **options,
    }
    config = config_of(PruneConfig, values, "dreamdistill.prune()")
    report = stage.run(config, teacher=given)
    return saved_model(config, report, network=module_of(given))
