"""Real images as a shard folder: what a student learns from them is the ceiling that made images are held to.

Used by table_cifar10.py. The labels alone are not used: students learn from the teacher's soft labels, as they do from
made images.
"""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import torch

from dreamdistill.shared.evaluation import labelled_batches, open_eval
from dreamdistill.shared.images import default_format, encode_image
from dreamdistill.shared.manifest import MANIFEST, Manifest
from dreamdistill.shared.marks import ShardRecord, whole_shards
from dreamdistill.shared.shards import Sample, write_info, write_shard
from dreamdistill.shared.teachers import Teacher


def write_real_shard(folder: Path, teacher: Teacher, spec: str, *, images: int, seed: int) -> None:
    """One shard of real images, as many of each class as of any other, drawn by the seed. Left alone if it is there.

    Args:
        spec: of the images, as for ``--eval``; those that students are not measured on.
    """
    if (folder / MANIFEST).exists() and whole_shards(folder):
        return
    pixels, labels = zip(
        *labelled_batches(open_eval(spec, teacher.num_classes), teacher.preprocessing, 1024), strict=True
    )
    pixels_NCHW, labels_N = torch.cat(pixels), torch.cat(labels)
    order = list(range(len(labels_N)))
    random.Random(seed).shuffle(order)
    by_class = [[i for i in order if labels_N[i] == target] for target in range(teacher.num_classes)]
    chosen = [by_class[i % len(by_class)][i // len(by_class)] for i in range(images)]
    format = default_format(teacher.preprocessing.image_size)
    manifest = Manifest(teacher=teacher.describe(), rounds=())
    item = manifest.next_round(
        recipe={"name": "real", "seed": seed},
        images=images,
        shard_size=images,
        format=format,
        student=None,
        batch=images,
    )
    manifest = manifest.with_round(item)
    with torch.no_grad():
        x_NCHW = teacher.preprocessing.normalize(pixels_NCHW[chosen])
        logits_NK = torch.cat([teacher.network(part) for part in x_NCHW.split(256)])
    agreement = float((logits_NK.argmax(1) == labels_N[chosen]).double().mean())
    samples = (
        Sample(
            image=encode_image(pixels_NCHW[i], format), logits=row.numpy().astype(np.float16), target=int(labels_N[i])
        )
        for i, row in zip(chosen, logits_NK, strict=True)
    )
    folder.mkdir(parents=True, exist_ok=True)
    manifest.save(folder)

    def commit(count: int, size: int, sha256: str) -> ShardRecord:
        return ShardRecord(
            count=count,
            bytes=size,
            sha256=sha256,
            seed=seed,
            seconds=0.0,
            worker="real",
            losses={},
            agreement=agreement,
        )

    (plan,) = item.shards()
    write_shard(folder, plan, samples, format=format, commit=commit)
    write_info(folder, manifest)
