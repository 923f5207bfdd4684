"""The functions of the Python API that stand for a command. Each does what the command of its name does.

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


def extend(
    shards: ShardFolder | str | Path,
    *,
    new: str | Path,
    teacher: Classifier | nn.Module | str | Path | None = None,
    out: str | Path = "runs/extend",
    epochs: int | None = None,
    batch_size: int | None = None,
    lr: float | None = None,
    flip: bool | None = None,
    eval: str | Path | None = None,
    **options: Any,
) -> Classifier:
    """Teach the shards' teacher new classes, from images of those alone, as ``di-extend`` does.

    The same call again resumes a stopped run. The teacher itself is left as it is.

    Args:
        shards: a shard folder: synthetic images of the classes that the teacher knows.
        new: labelled real images of the new classes alone, as for :meth:`Classifier.evaluate`.
        teacher: the shards' teacher, where it cannot be loaded from its recorded place.
        out: folder for the network and its report.
        epochs, batch_size, lr, flip: of the training; None takes the defaults of ``di-extend``.
        eval: labelled images of all classes to measure on, the old ones first.
        options: any other option of ``di-extend --help-all``, with underscores.

    Returns:
        The network that knows all classes; ``report`` has the keys of ``di-extend --json``.

    Raises:
        ConfigError: an option is unknown or out of range, or shards, teacher or images cannot be used.
        DreamError: the training failed.
    """
    from .arguments import config_of, module_of, saved_model, shards_and_teacher
    from .distill.extend import stage
    from .distill.extend.config import ExtendConfig

    path, given, name = shards_and_teacher(shards, teacher)
    values = {
        "shards": path,
        "new": new,
        "teacher": name,
        "out": out,
        "epochs": epochs,
        "batch_size": batch_size,
        "lr": lr,
        "flip": flip,
        "eval": eval,
        **options,
    }
    config = config_of(ExtendConfig, values, "dreamdistill.extend()")
    report = stage.run(config, teacher=given)
    return saved_model(config, report, network=module_of(given))
