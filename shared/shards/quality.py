"""How good a data set's images are, without a student: what networks make of them, beside real ones if there are any.

torchmetrics calculates the Fréchet distance. Nothing here is used to make images.
"""

from __future__ import annotations

import contextlib
import json
import warnings
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..core.device import pick_device
from ..core.errors import ConfigError
from ..core.files import write_text
from ..data.accuracy import check_labels
from ..data.labelled import LabelledSet, labelled_batches, open_labelled
from ..models.classifier import Classifier, load_model, reload_model
from ..models.features import FeatureCollector, Features
from .folder import ShardFolder
from .loaders import make_loader
from .writer import SCORE

BATCH = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class Measures:
    """Of one set of images.

    Attributes:
        images: how many.
        agreement: share that the teacher assigns to their class, 0 to 1.
        confidence: the teacher's highest probability, averaged, 0 to 1.
        verifier_agreement: share that the verifier, an independent network, assigns to their class, 0 to 1.
        diversity: 1 - cosine of the features of two images of one class, averaged over pairs, then classes, 0 to 2.
        statistics_distance: R_feature of the whole set to the teacher's BatchNorm statistics, 0 or more.

    None stands for what there is no network for.
    """

    images: int
    agreement: float
    confidence: float
    verifier_agreement: float | None
    diversity: float
    statistics_distance: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """A shard folder's score.

    Attributes:
        identity: of what was in the folder.
        verifier: sha256 of its weights, or None.
        real_name: the real images, as they were named; None without any.
        features: whose features diversity and Fréchet distance are taken in: ``verifier``'s if any, or ``teacher``'s.
        made: the folder's images.
        real: real images by the same measures; None without any.
        frechet: squared Fréchet distance of the features, made to real, 0 or more; None without real images. It falls
            with the number of images: compare sets of one size alone.
    """

    identity: str
    verifier: str | None
    real_name: str | None
    features: str
    made: Measures
    real: Measures | None
    frechet: float | None

    def flat(self) -> dict[str, Any]:
        """As one table: the images' measures, then those of the real ones as ``real_NAME``."""
        real = {f"real_{name}": value for name, value in asdict(self.real).items()} if self.real else {}
        return {**asdict(self.made), "frechet": self.frechet, "features": self.features, **real}


def score_folder(
    path: Path,
    *,
    teacher: str | None = None,
    weights: str | None = None,
    verifier: str | None = None,
    verifier_weights: str | None = None,
    real: str | None = None,
    device: str = "auto",
) -> Score:
    """Measure a shard folder's images with networks and real images that are named as for the commands.

    Args:
        teacher, weights: where the teacher is, if not where the shards say.
        verifier: a network of the same classes that had no part in the images.

    Raises:
        ConfigError: something of it cannot be used or has other classes, or torchmetrics is not installed.
    """
    shards = ShardFolder.open(path)
    here = pick_device(device)
    record = shards.manifest.teacher
    judge = None
    if verifier is not None:
        judge = load_model(verifier, weights=verifier_weights, image_size=record["image_size"], device=here)
        if judge.num_classes != record["num_classes"]:
            raise ConfigError(f"--verifier has {judge.num_classes} classes and the teacher {record['num_classes']}")
        channels = judge.preprocessing.channels
        if channels != len(record["mean"]):
            raise ConfigError(f"--verifier takes {channels} channels and the teacher {len(record['mean'])}")
    elif verifier_weights is not None:
        raise ConfigError("--verifier-weights needs the --verifier that they are of")
    images = open_labelled(real, record["num_classes"]) if real else None
    if images is not None:
        _frechet_class()
    before = read_score(shards)
    asked = (judge.sha256 if judge else None, images.name if images else None)
    if before is not None and (before.verifier, before.real_name) == asked:
        return before
    return score(shards, reload_model(record, name=teacher, weights=weights, device=here), verifier=judge, real=images)


def score(
    shards: ShardFolder, teacher: Classifier, *, verifier: Classifier | None = None, real: LabelledSet | None = None
) -> Score:
    """Measure a shard folder's images, and write ``score.json`` beside them.

    Raises:
        ConfigError: the real set is empty, or has labels of other classes.
    """
    made, seen = _measure(_stored(shards, teacher), teacher, verifier)
    measures_real = frechet = None
    if real is not None:
        measures_real, seen_real = _measure(_labelled(real, teacher), teacher, verifier)
        frechet = frechet_distance(seen.features, seen_real.features)
    result = Score(
        identity=shards.identity,
        verifier=verifier.sha256 if verifier else None,
        real_name=real.name if real else None,
        features="verifier" if verifier else "teacher",
        made=made,
        real=measures_real,
        frechet=frechet,
    )
    write_text(shards.path / SCORE, json.dumps(asdict(result), indent=1) + "\n")
    return result


def read_score(shards: ShardFolder) -> Score | None:
    """The score that was written of what is in the folder now; None if there is none."""
    try:
        record = json.loads((shards.path / SCORE).read_text())
        if record["identity"] != shards.identity:
            return None
        real = Measures(**record["real"]) if record["real"] else None
        return Score(**{**record, "made": Measures(**record["made"]), "real": real})
    except (OSError, ValueError, KeyError, TypeError):
        return None  # it can be made again


def diversity(features_ND: Tensor, targets_N: Tensor) -> float:
    """1 - cosine of two images of one class, averaged over all pairs of each class, then over classes with a pair."""
    unit_ND = torch.nn.functional.normalize(features_ND.double(), dim=1)
    values: list[float] = []
    for target in targets_N.unique():
        own_MD = unit_ND[targets_N == target]
        count = len(own_MD)
        if count > 1:
            # The sum over all pairs of dot products is the square of the sum of vectors.
            values.append(float(1 - (own_MD.sum(0).square().sum() - count) / (count * (count - 1))))
    return sum(values) / len(values) if values else 0.0


def frechet_distance(features_ND: Tensor, others_MD: Tensor) -> float:
    """``|m1 - m2|^2 + tr(C1 + C2 - 2 (C1 C2)^(1/2))`` of two sets of features (Heusel et al. 2017).

    Raises:
        ConfigError: torchmetrics is not installed.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        metric: Any = _frechet_class()(feature=_AsTheyAre(features_ND.shape[1]))
    metric.set_dtype(torch.float64)
    for features, real in ((features_ND, False), (others_MD, True)):
        metric.update(features.double(), real=real)
    return float(metric.compute())


class _AsTheyAre(nn.Module):
    """In the place of torchmetrics' own network, whose weights it would download: the features are there already."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.num_features = width

    def forward(self, features_ND: Tensor) -> Tensor:
        return features_ND


def _frechet_class() -> Any:
    try:
        from torchmetrics.image.fid import FrechetInceptionDistance
    except ImportError as error:
        raise ConfigError("--real needs torchmetrics: pip install 'dreamdistill[score]'") from error
    return FrechetInceptionDistance


def _stored(shards: ShardFolder, teacher: Classifier) -> Iterator[tuple[Tensor, Tensor]]:
    device = next(teacher.network.parameters()).device
    for batch in make_loader(shards, "auto", batch_size=BATCH, shuffle=False, seed=0, device=device):
        yield batch.images, batch.targets


def _labelled(real: LabelledSet, teacher: Classifier) -> Iterator[tuple[Tensor, Tensor]]:
    for pixels_NCHW, labels_N in labelled_batches(real, teacher.preprocessing, BATCH):
        check_labels(real, labels_N, teacher.num_classes)
        yield pixels_NCHW, labels_N


def _measure(
    batches: Iterator[tuple[Tensor, Tensor]], teacher: Classifier, verifier: Classifier | None
) -> tuple[Measures, Features]:
    """The measures, and what the network saw whose features count."""
    targets: list[Tensor] = []
    with contextlib.ExitStack() as stack:
        collectors = [
            (
                network.preprocessing,
                stack.enter_context(FeatureCollector(network.network, statistics=network is teacher)),
            )
            for network in (teacher, verifier)
            if network
        ]
        device = next(teacher.network.parameters()).device
        for pixels_NCHW, targets_N in batches:
            targets.append(targets_N.cpu())
            for preprocessing, collector in collectors:
                collector.show(preprocessing.normalize(pixels_NCHW.to(device)))
    targets_N = torch.cat(targets)
    by_teacher, *by_verifier = (collector.seen() for _, collector in collectors)
    seen = by_verifier[0] if by_verifier else by_teacher
    measures = Measures(
        images=len(targets_N),
        agreement=_agreement(by_teacher, targets_N),
        confidence=float(by_teacher.logits.softmax(1).amax(1).mean()),
        verifier_agreement=_agreement(seen, targets_N) if by_verifier else None,
        diversity=diversity(seen.features, targets_N),
        statistics_distance=by_teacher.statistics_distance,
    )
    return measures, seen


def _agreement(seen: Features, targets_N: Tensor) -> float:
    return float((seen.logits.argmax(1) == targets_N).double().mean())
