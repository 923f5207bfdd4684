"""The score of a shard folder: how good its images are, measured without a student, and compared with real images.

No stage uses the score to make images.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from torch import Tensor

from ..core.device import pick_device
from ..core.errors import ConfigError
from ..data.labelled import LabelledSet, labelled_batches, open_labelled
from ..models.classifier import Classifier, load_model, reload_model
from ..models.named_files import name_files
from .folder import ShardFolder
from .loaders import make_loader
from .measures import frechet_distance, measure, require_torchmetrics
from .score import Score, read_score, write_score
from .verification import verify_once

BATCH = 256


def score_folder(
    path: Path,
    *,
    teacher: str | None = None,
    weights: str | None = None,
    verifier: str | None = None,
    verifier_weights: str | None = None,
    real: str | None = None,
    code: Sequence[Path] = (),
    device: str = "auto",
) -> Score:
    """Score a shard folder. Networks and real images are named as for the commands.

    A score of the same content, verifier and real images is read from ``score.json`` and not measured again.

    Args:
        teacher, weights: where the teacher is now, if it is not where the manifest says.
        verifier: a network for the same classes that was not used to make the images.
        real: real images for comparison, as for ``--eval``.
        code: Python files that the shards or a saved model may name.

    Raises:
        ConfigError: an input cannot be used or has other classes, or torchmetrics is not installed.
    """
    shards = ShardFolder.open(path)
    name_files(code)
    torch_device = pick_device(device)
    record = shards.manifest.teacher
    verifier_model = None
    if verifier is not None:
        verifier_model = load_model(
            verifier, weights=verifier_weights, image_size=record.image_size, code=code, device=torch_device
        )
        if verifier_model.num_classes != record.num_classes:
            raise ConfigError(
                f"--verifier has {verifier_model.num_classes} classes and the teacher {record.num_classes}"
            )
        channels = verifier_model.preprocessing.channels
        if channels != record.channels:
            raise ConfigError(f"--verifier takes {channels} channels and the teacher {record.channels}")
    elif verifier_weights is not None:
        raise ConfigError("--verifier-weights needs --verifier, the network to which they belong")
    images = open_labelled(real, record.num_classes, record.class_names) if real else None
    if images is not None:
        require_torchmetrics()
    earlier = read_score(shards)
    inputs = (verifier_model.sha256 if verifier_model else None, images.name if images else None)
    if earlier is not None and (earlier.verifier, earlier.real_name) == inputs:
        return earlier
    verify_once(shards)
    model = reload_model(record, name=teacher, weights=weights, code=code, device=torch_device)
    return score(shards, model, verifier=verifier_model, real=images)


def score(
    shards: ShardFolder, teacher: Classifier, *, verifier: Classifier | None = None, real: LabelledSet | None = None
) -> Score:
    """Measure the images of a shard folder, and write ``score.json`` into it.

    Raises:
        ConfigError: the real set is empty, or has labels of other classes.
    """
    synthetic, features_ND = measure(_stored_images(shards, teacher), teacher, verifier)
    real_measures = frechet = None
    if real is not None:
        real_measures, real_features_MD = measure(
            labelled_batches(real, teacher.preprocessing, BATCH), teacher, verifier
        )
        frechet = frechet_distance(features_ND, real_features_MD)
    result = Score(
        identity=shards.identity,
        verifier=verifier.sha256 if verifier else None,
        real_name=real.name if real else None,
        features="verifier" if verifier else "teacher",
        synthetic=synthetic,
        real=real_measures,
        frechet=frechet,
    )
    write_score(shards.path, result)
    return result


def _stored_images(shards: ShardFolder, teacher: Classifier) -> Iterator[tuple[Tensor, Tensor]]:
    device = next(teacher.network.parameters()).device
    for batch in make_loader(shards, "auto", batch_size=BATCH, shuffle=False, seed=0, device=device, in_memory=False):
        yield batch.images, batch.targets
