"""Given images as a shard folder, with the teacher's logits: students of synthetic images are compared with theirs.

Used by table_cifar10.py and where_it_is_lost.py.
"""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dreamdistill.shared.core.places import MANIFEST
from dreamdistill.shared.data.images import default_format, encode_image
from dreamdistill.shared.data.labelled import labelled_batches, open_labelled
from dreamdistill.shared.models.classifier import Classifier
from dreamdistill.shared.shards.contract import Sample
from dreamdistill.shared.shards.manifest import Manifest
from dreamdistill.shared.shards.records import CommitRecord, complete_shards
from dreamdistill.shared.shards.writer import write_info, write_shard


def real_images(teacher: Classifier, spec: str, *, images: int, seed: int) -> tuple[Tensor, Tensor]:
    """Real images, the same number for each class, drawn by the seed: uint8 (N, C, H, W), labels (N,).

    Args:
        spec: the images, as for ``--eval``; not those that students are measured on.
    """
    pixels, labels = zip(
        *labelled_batches(open_labelled(spec, teacher.num_classes), teacher.preprocessing, 1024), strict=True
    )
    pixels_NCHW, labels_N = torch.cat(pixels), torch.cat(labels)
    order = list(range(len(labels_N)))
    random.Random(seed).shuffle(order)
    by_class = [[i for i in order if labels_N[i] == target] for target in range(teacher.num_classes)]
    chosen = [by_class[i % len(by_class)][i // len(by_class)] for i in range(images)]
    return pixels_NCHW[chosen], labels_N[chosen]


def is_there(folder: Path) -> bool:
    return (folder / MANIFEST).exists() and bool(complete_shards(folder))


@torch.no_grad()
def write_given(folder: Path, teacher: Classifier, pixels_NCHW: Tensor, targets_N: Tensor, *, name: str) -> None:
    """Write one shard of these images. ``name`` takes the place of a recipe's name."""
    count = len(targets_N)
    format = default_format(teacher.preprocessing.image_size)
    manifest = Manifest(teacher=teacher.record(), rounds=())
    item = manifest.next_round(
        recipe={"name": name}, images=count, shard_size=count, format=format, student=None, batch=count
    )
    manifest = manifest.with_round(item)
    x_NCHW = teacher.preprocessing.normalize(pixels_NCHW)
    logits_NK = torch.cat([teacher.network(part) for part in x_NCHW.split(256)])
    samples = (
        Sample(image=encode_image(image, format), logits=row.numpy().astype(np.float16), target=int(target))
        for image, row, target in zip(pixels_NCHW, logits_NK, targets_N, strict=True)
    )

    def commit(**files: Any) -> CommitRecord:
        return CommitRecord(
            **files,
            seed=0,
            seconds=0.0,
            worker=name,
            losses={},
            agreement=float((logits_NK.argmax(1) == targets_N).double().mean()),
            class_loss=float(torch.nn.functional.cross_entropy(logits_NK, targets_N)),
            clipped=0.0,
        )

    folder.mkdir(parents=True, exist_ok=True)
    manifest.save(folder)
    (plan,) = item.shards()
    write_shard(folder, plan, samples, commit=commit)
    write_info(folder, manifest)
