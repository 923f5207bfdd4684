"""The classes of the Python API: classifiers that can be measured, and shard folders that can be looked at."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from .shared.core.device import pick_device
from .shared.core.errors import ConfigError
from .shared.data.evaluation import Evaluation, evaluate
from .shared.data.labelled import open_labelled
from .shared.export.config import SUFFIXES, Export
from .shared.export.export import ExportReport, export_model
from .shared.models import classifier
from .shared.shards import folder
from .shared.shards.gallery import write_gallery
from .shared.shards.training_batches import TrainingBatches, training_batches


class Classifier(classifier.Classifier):
    """A frozen network with its input's normalisation: a teacher, or what distilling and pruning made.

    A module of your own becomes one by ``dd.Classifier(module, mean=(0.5,), std=(0.5,), image_size=28)``; a trained
    one by name comes from :func:`dreamdistill.load`. See :class:`dreamdistill.shared.models.classifier.Classifier`
    for all arguments and attributes.

    Attributes:
        network: the plain ``nn.Module``: logits (N, K) from normalised images (N, C, H, W).
        folder: where it is saved; None for one that is not in a result folder.
        report: the report of the run that made it, as the command's ``--json`` prints it; empty without a run.
    """

    def __init__(self, network: nn.Module, **description: Any) -> None:
        super().__init__(network, **description)
        self.folder: Path | None = None
        self.report: dict[str, Any] = {}

    @classmethod
    def of(
        cls, loaded: classifier.Classifier, *, folder: Path | None = None, report: dict[str, Any] | None = None
    ) -> Classifier:
        """The same classifier with what this class adds."""
        made = cls.__new__(cls)
        made.__dict__.update(loaded.__dict__)
        made.folder, made.report = folder, dict(report or {})
        return made

    def evaluate(
        self, images: str | Path, *, teacher: Classifier | None = None, device: str = "auto", batch_size: int = 256
    ) -> Evaluation:
        """Measure on labelled images, as ``di-model evaluate`` does.

        Args:
            images: an ImageFolder, a WebDataset tar, a CSV list of paths and labels, an ``.npz`` file of arrays,
                ``torchvision:NAME:ROOT``, ``FILE.py:NAME`` (which runs the file) or ``digits``, as for ``--eval``.
                Names of its classes are compared with this classifier's ``class_names``.
            teacher: a classifier to agree with.

        Raises:
            ConfigError: the images cannot be read, or their classes are others.
        """
        labelled = open_labelled(str(images), self.num_classes, self.class_names)
        for each in (self, teacher):
            if each is not None:
                each.network.to(pick_device(device))
        return evaluate(
            self.logits,
            labelled,
            self.preprocessing,
            num_classes=self.num_classes,
            teacher_logits_of=teacher.logits if teacher else None,
            batch_size=batch_size,
        )

    def export(
        self,
        path: str | Path,
        *,
        format: str | None = None,
        normalize: bool = False,
        batch: int | None = None,
        shards: ShardFolder | str | Path | None = None,
        eval: str | Path | None = None,
    ) -> ExportReport:
        """Write it as a file that runs without this project, as ``di-model export`` does.

        Args:
            path: the file to write.
            format: ``onnx``, ``pt2`` or ``state_dict``; None goes by the suffix: ``.onnx``, ``.pt2`` or ``.pth``.
            normalize: whether the file takes pixels of 0 to 255, and normalises them itself.
            batch: images in a forward pass; None leaves it open.
            shards: synthetic images; an int8 ONNX file is calibrated on them and written beside the other one.
            eval: labelled images to measure the ONNX files on, as for :meth:`evaluate`.

        Raises:
            ConfigError: the network cannot be exported so, or the arguments do not go together.
            DreamError: what was exported computes something else. Nothing is written then.
        """
        path = Path(path)
        suffixes = {suffix: name for name, suffix in SUFFIXES.items()}
        if format is None and path.suffix not in suffixes:
            raise ConfigError(f"{path} has none of the suffixes {', '.join(suffixes)}: rename it, or give the format")
        settings = Export(
            format=format or suffixes[path.suffix],
            int8=shards is not None,
            shards=None if shards is None else Path(shards.path if isinstance(shards, ShardFolder) else shards),
            normalize=normalize,
            batch="dynamic" if batch is None else str(batch),
            eval=None if eval is None else str(eval),
        )
        return export_model(self, path, settings)


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardFolder(folder.ShardFolder):
    """A folder of synthetic images with the teacher's logits; ``ShardFolder.open("shards")`` opens one.

    Attributes:
        path: the folder.
        manifest: its teacher and its rounds.
        records: number of a shard -> its commit record.
        teacher: the classifier that made the images, where it is in memory; the stages take it from here.
    """

    teacher: Classifier | None = None

    @classmethod
    def open(cls, path: str | Path, *, rounds: int | None = None, teacher: Classifier | None = None) -> ShardFolder:
        """Open for reading.

        Args:
            rounds: read this many of the first rounds alone; None reads all.

        Raises:
            ConfigError: the folder is missing, is no shard folder, or has no whole shard yet.
            DreamError: a tar is missing or has another size than when it was written.
        """
        found = folder.ShardFolder.open(Path(path), rounds=rounds)
        return cls(path=found.path, manifest=found.manifest, records=found.records, teacher=teacher)

    def gallery(
        self,
        out: str | Path | None = None,
        *,
        columns: int = 10,
        classes: Sequence[int] | None = None,
        side: int | None = None,
        labels: bool = True,
    ) -> Path:
        """Write a picture of the first images of each class, as ``di-shards gallery`` does, and return its path."""
        path = Path(out) if out is not None else self.path / "gallery.png"
        write_gallery(
            self, path, columns=columns, classes=None if classes is None else tuple(classes), side=side, labels=labels
        )
        return path

    def batches(
        self,
        *,
        batch_size: int = 32,
        shuffle: bool = True,
        seed: int = 0,
        device: str | torch.device = "cpu",
        loader: str = "auto",
        verify: bool = True,
    ) -> TrainingBatches:
        """Batches for a custom training loop: ``for images, logits, targets in shards.batches(): ...``

        Each iteration is one pass, in another order. Images are float32 (N, C, H, W), normalised by the teacher's mean
        and std; logits float32 (N, K); targets int64 (N,). ``verify`` checks every byte of the shards first, once.
        """
        return training_batches(
            self, batch_size=batch_size, shuffle=shuffle, seed=seed, device=device, loader=loader, verify=verify
        )
