"""The export of a classifier: made, run by what will run it elsewhere, compared, and only then written."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from ..core.errors import ConfigError, DreamError
from ..core.files import write_bytes
from ..data.labelled import open_labelled
from ..data.labelled_set import LabelledSet
from ..models.classifier import Classifier
from ..models.preprocessing import Preprocessing
from ..shards.folder import ShardFolder
from .config import Export, check_output
from .deployed import Deployed, largest_difference
from .int8 import int8_bytes
from .measured import agreement, calibration_batches, latency_ms, top1_of
from .onnx_file import OnnxSession, onnx_bytes
from .program import load_program, program_bytes
from .stand_alone import network_of, source_of, state_dict_bytes

LARGEST_DIFFERENCE = 1e-4  # of logits: a share of the largest one, or absolute where that is below 1


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportReport:
    """What was written, and how good it is.

    Attributes:
        file: the float file, with :attr:`bytes`; ``file_int8`` is the other one.
        max_difference: the largest difference of its logits from the network's, on images of noise.
        top1, top1_int8: of the files on the images of ``eval``, 0 to 1; None without any.
        agreement_int8: share of synthetic images for which int8 gives the class that float gives.
        latency_ms, latency_int8_ms: of one forward pass in ONNX Runtime on one thread, medians, measured in turn; of
            one image, or of the fixed batch.
    """

    file: str
    bytes: int
    max_difference: float
    top1: float | None = None
    latency_ms: float | None = None
    file_int8: str | None = None
    bytes_int8: int | None = None
    top1_int8: float | None = None
    agreement_int8: float | None = None
    latency_int8_ms: float | None = None
    eval: str | None = None


def export_model(classifier: Classifier, path: Path, settings: Export) -> ExportReport:
    """Write a classifier as a file that runs without this project.

    Args:
        path: the file; int8, and the Python file of a state_dict, lie beside it.

    Raises:
        ConfigError: the network cannot be exported so, or images cannot be read.
        DreamError: what was exported computes something else. Nothing is written then.
    """
    check_output(path)
    shards = ShardFolder.open(settings.shards) if settings.shards else None
    images = open_labelled(settings.eval, classifier.num_classes, classifier.class_names) if settings.eval else None
    format, batch = settings.format, settings.fixed_batch
    if shards is not None:
        _check_same_images(classifier, shards)
    deployed = Deployed(classifier, normalize=settings.normalize)
    if format == "state_dict":
        return _write_state_dict(deployed, path)
    if format == "pt2":
        return _write_program(deployed, path, batch)
    return _write_onnx(classifier, deployed, path, batch=batch, shards=shards, images=images)


def _write_onnx(
    classifier: Classifier,
    deployed: Deployed,
    path: Path,
    *,
    batch: int | None,
    shards: ShardFolder | None,
    images: LabelledSet | None,
) -> ExportReport:
    """The float file and, with shards, the int8 one; both measured."""
    files = {path: onnx_bytes(deployed, batch=batch)}
    runs = [OnnxSession(files[path], batch=batch)]
    report = ExportReport(file=str(path), bytes=len(files[path]), max_difference=_compare(deployed, runs[0], batch))
    if shards is not None:
        int8 = path.with_name(f"{path.stem}_int8{path.suffix}")
        files[int8] = int8_bytes(files[path], calibration_batches(deployed, shards, batch))
        runs.append(OnnxSession(files[int8], batch=batch))
        report = replace(
            report,
            file_int8=str(int8),
            bytes_int8=len(files[int8]),
            agreement_int8=agreement(runs, deployed, shards),
        )
    latency, latency_int8 = (*latency_ms(runs, deployed, batch), None)[:2]
    report = replace(report, latency_ms=latency, latency_int8_ms=latency_int8)
    if images is not None:
        top1, top1_int8 = (*(top1_of(run, deployed, classifier, images) for run in runs), None)[:2]
        report = replace(report, top1=top1, top1_int8=top1_int8, eval=images.name)
    for file, content in files.items():
        write_bytes(file, content)
    return report


def _write_program(deployed: Deployed, path: Path, batch: int | None) -> ExportReport:
    content = program_bytes(deployed, batch=batch)
    difference = _compare(deployed, load_program(content), batch)
    write_bytes(path, content)
    return ExportReport(file=str(path), bytes=len(content), max_difference=difference)


def _check_same_images(classifier: Classifier, shards: ShardFolder) -> None:
    """Refuse shards whose images the network does not take.

    Raises:
        ConfigError: they have another size or other channels.
    """
    own, theirs = classifier.preprocessing, Preprocessing.of(shards.manifest.teacher)
    if (own.image_size, own.channels) != (theirs.image_size, theirs.channels):
        raise ConfigError(
            f"{shards.path} has images of {theirs.image_size} px and {theirs.channels} channels, and the network takes"
            f" {own.image_size} px and {own.channels}: name shards of its teacher"
        )


def _write_state_dict(deployed: Deployed, path: Path) -> ExportReport:
    """The weights, and the Python file beside them."""
    code = path.with_suffix(".py")
    content = state_dict_bytes(deployed)
    source = source_of(deployed, module=code.stem, weights=path.name)
    difference = _compare(deployed, network_of(source, content), None)
    write_bytes(path, content)
    write_bytes(code, source.encode())
    return ExportReport(file=str(path), bytes=len(content), max_difference=difference)


@torch.no_grad()
def _compare(deployed: Deployed, exported: Callable[[Tensor], Tensor], batch: int | None) -> float:
    """The largest difference of logits.

    Raises:
        DreamError: it is too large.
    """
    x_NCHW = deployed.probes(batch)
    expected_NK = deployed.network(x_NCHW)
    difference = largest_difference(exported(x_NCHW), expected_NK)
    if not difference <= LARGEST_DIFFERENCE * max(1.0, float(expected_NK.abs().max())):
        raise DreamError(
            f"the exported network computes something else (its logits differ by {difference:.3g}), so it was not"
            " written: try another --format"
        )
    return difference
