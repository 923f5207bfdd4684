"""How well a classifier learns new classes without the old ones' images, beside other losses and real old images.

    python tests/benchmarks/table_extend.py --task 5+5 --json
    python tests/benchmarks/table_extend.py --task tasks --json
    python tests/benchmarks/table_extend.py --data cifar10 --cifar10 FOLDER --task 5+5 --steps 2000 --batch-size 64 \
        --seeds 2 --json
    python tests/benchmarks/table_extend.py --data cifar10+fashion --cifar10 FOLDER --weights FILE --task 10+10 \
        --steps 2000 --batch-size 64 --seeds 1 --json

A teacher learned the first classes alone; there are 512 synthetic images of it, and all real images of the other
classes. ``tasks`` begins with two classes and adds two more four times, with images of the last network each time.
Accuracies are of test images, in one label space. The data are scikit-learn's digits, or CIFAR-10 from FOLDER/train.tar
and test.tar, or CIFAR-10 and then Fashion-MNIST. Seeds are those of images and training, for digits of the teacher too.
Results are written to docs/results/extend-DATA-TASK.json and .md after every run, so that a table that was stopped goes
on, and a picture at its end: a row of synthetic images, real ones of the same classes, and new classes.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
from extend_data import Data, Digits, Pixels32, read_cifar10, read_fashion
from extend_rows import figures, markdown, summary
from given_shards import is_there, real_images, write_given
from pictures import as_png, of_set, of_shards
from students import RESULTS, measured_on
from table_rows import without_folders

from dreamdistill.distill.extend import stage as extend
from dreamdistill.distill.extend.config import ExtendConfig
from dreamdistill.distill.extend.report import ExtendReport
from dreamdistill.invert import stage as invert
from dreamdistill.invert.config import InvertConfig
from dreamdistill.shared.core.files import write_bytes, write_text
from dreamdistill.shared.data.accuracy import top1
from dreamdistill.shared.data.labelled import open_labelled
from dreamdistill.shared.models.classifier import load_model

TASKS = {"5+5": 5, "8+2": 8, "10+10": 10}  # number of the old classes


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A row of the table: the loss, the share of a batch that is new images, what is replayed, and whether it is mixed.

    The published losses are for whole images.
    """

    criterion: str
    share: float = 0.5
    real: bool = False
    mixed: bool = False

    @property
    def changes(self) -> dict[str, Any]:
        return {} if self.mixed else {"mixup": 0.0}


ROWS = {
    "fine-tuning": Row(criterion="ce", share=1),
    "LwF.MC": Row(criterion="lwf-mc", share=1),
    "DeepInversion's loss": Row(criterion="deepinversion"),
    "ABD's loss": Row(criterion="abd"),
    "DeepInversion's loss, mixed images": Row(criterion="deepinversion", mixed=True),
    "ABD's loss, mixed images": Row(criterion="abd", mixed=True),
    "cross-entropy": Row(criterion="ce"),
    "DeepInversion's loss, real old images": Row(criterion="deepinversion", real=True),
    "ABD's loss, real old images": Row(criterion="abd", real=True),
    "ABD's loss, mixed real old images": Row(criterion="abd", real=True, mixed=True),
    "cross-entropy, real old images": Row(criterion="ce", real=True),
}
OF_TASKS = ("DeepInversion's loss", "ABD's loss", "ABD's loss, mixed images", "cross-entropy")
ALL = "all real images at once"
NEW_ALONE = "new classes alone, a network of its own"


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """The settings of a table.

    Attributes:
        images: of the old classes, synthetic or real.
        steps: of each training, at least.
        weights: of a network that knows the old classes; None trains one.
        changes: to the settings of di-extend.
        out: for teachers, images and networks.
    """

    data: Data
    images: int
    steps: int
    weights: Path | None
    changes: dict[str, Any] = field(default_factory=dict)
    out: Path

    def teacher(self, first: int, last: int, seed: int) -> Path:
        """The weights of a network that learned these classes alone."""
        if self.weights is not None and first == 0:
            return self.weights
        seed = seed if self.data.seeded else 0
        path = self.out / f"teacher-{first}-{last}-{seed}.safetensors"
        if not path.exists():
            self.out.mkdir(parents=True, exist_ok=True)
            self.data.train(path, first, last, seed)
        return path

    def invert(self, folder: Path, seed: int, **teacher: Any) -> Path:
        """Synthetic images of a teacher."""
        made = {"recipe": "natural", "images": self.images, "changes": dict(self.data.inverting)}
        config = InvertConfig(**teacher, **made, workers=1, out=folder, seed=seed)
        invert.run(config)
        return folder

    def shards(self, old: int, seed: int, *, real: bool) -> Path:
        """The images of the old classes."""
        weights = str(self.teacher(0, old - 1, seed))
        teacher = {"teacher": self.data.network, "weights": weights, "num_classes": old}
        folder = self.out / f"{'real' if real else 'images'}-{old}-{seed}"
        if not real:
            return self.invert(folder, seed, **teacher)
        if not is_there(folder):
            classifier = load_model(self.data.network, weights=weights, num_classes=old)
            given = real_images(classifier, self.data.images("train", 0, old - 1), images=self.images, seed=seed)
            write_given(folder, classifier, *given, name="real")
        return folder

    def extend(self, row: Row, shards: Path, out: Path, seed: int, *, first: int, last: int) -> ExtendReport:
        """A network that learns the classes from ``first`` to ``last``."""
        settings: dict[str, Any] = {
            "shards": shards,
            "new": self.data.images("train", first, last),
            "eval": self.data.images("test", 0, last),
            "share": row.share,
            "criterion": row.criterion,
            "out": out,
            "seed": seed,
        }
        changes = {**self.data.extending, "loader": "webdataset", **row.changes, **self.changes}
        batches = len(extend.ExtendJob.of(ExtendConfig(**settings, changes=changes)).loader("webdataset"))
        return extend.run(ExtendConfig(**settings, changes={**changes, "epochs": -(-self.steps // batches)}))

    def one(self, name: str, old: int, seed: int) -> dict[str, float]:
        """One network of a table of two tasks. What an earlier call has done is not done again."""
        last = self.data.classes - 1
        if name in (ALL, NEW_ALONE):
            first = old if name == NEW_ALONE else 0
            return {"new" if first else "joint": self.accuracy(self.teacher(first, last, seed), first, last)}
        row = ROWS[name]
        shards = self.shards(old, seed, real=row.real)
        out = self.out / f"{old}-{name.replace(' ', '_').replace(',', '')}-{seed}"
        return figures(self.extend(row, shards, out, seed, first=old, last=last))

    def accuracy(self, weights: Path, first: int, last: int) -> float:
        """Top-1 of a network that learned these classes alone, on test images of them."""
        count = last - first + 1
        network = load_model(self.data.network, weights=str(weights), num_classes=count)
        return top1(network.network, open_labelled(self.data.images("test", first, last), count), network.preprocessing)

    def picture(self, old: int) -> bytes:
        """A row of synthetic images, one of real images of the same old classes, and one of the new classes."""
        last = self.data.classes - 1
        real = of_set(self.data.images("test", 0, old - 1), old)
        new = of_set(self.data.images("test", old, last), last - old + 1)
        return as_png([of_shards(self.shards(old, 0, real=False)), real, new])

    def tasks(self, name: str, seed: int) -> dict[str, float]:
        """Two classes, and two more four times; each network makes the images for the next."""
        shards = self.shards(2, seed, real=False)
        found: dict[str, float] = {}
        for first in range(2, self.data.classes, 2):
            out = self.out / f"tasks-{name.replace(' ', '_')}-{seed}-{first}"
            report = self.extend(ROWS[name], shards, out, seed, first=first, last=first + 1)
            found |= {**figures(report), f"joint_{first + 2}": report.top1_joint or 0.0}
            if first + 2 < self.data.classes:
                shards = self.invert(out.with_name(f"{out.name}-images"), seed, teacher=str(out))
        return found


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--data", choices=("digits", "cifar10", "cifar10+fashion"), default="digits")
    parser.add_argument("--task", choices=(*TASKS, "tasks"), default="5+5")
    parser.add_argument("--rows", help="names of rows, separated by semicolons [default: all]")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--images", type=int, default=512, help="of the old classes, in all")
    parser.add_argument("--steps", type=int, default=320, help="of each training, rounded up to whole epochs")
    parser.add_argument("--batch-size", type=int, help="of each training [default: that of di-extend]")
    parser.add_argument("--cifar10", type=Path, help="folder with train.tar and test.tar")
    parser.add_argument("--weights", type=Path, help="of a network that knows the old classes [default: trained]")
    parser.add_argument("--epochs", type=int, default=12, help="of networks that learn a part of the classes")
    parser.add_argument("--out", type=Path, default=Path("runs/table_extend"), help="teachers, images and networks")
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--json", action="store_true", help="print the result on stdout")
    asked = parser.parse_args()

    data: Data = Digits()
    if asked.data != "digits":
        if asked.cifar10 is None:
            parser.error(f"--data {asked.data} needs --cifar10")
        sets = [partial(read_cifar10, asked.cifar10), read_fashion]
        data = Pixels32(
            name=asked.data, sets=sets[: 1 + asked.data.count("+")], folder=asked.out / "data", epochs=asked.epochs
        )
    bench = Bench(
        data=data,
        images=asked.images,
        steps=asked.steps,
        weights=asked.weights,
        changes={} if asked.batch_size is None else {"batch_size": asked.batch_size},
        out=asked.out,
    )
    known = OF_TASKS if asked.task == "tasks" else (*ROWS, ALL, NEW_ALONE)
    names = [name for name in known if (name != NEW_ALONE if asked.rows is None else name in asked.rows.split(";"))]
    path = asked.results / f"extend-{data.name}-{asked.task.replace('+', '-')}.json"
    asked.results.mkdir(parents=True, exist_ok=True)
    found: dict[str, list[dict[str, float]]] = {}
    result: dict[str, Any] = {}
    for seed in range(asked.seeds):  # all rows of one seed first, so that a table that is stopped has all rows
        for name in names:
            if seed and name in (ALL, NEW_ALONE) and not data.seeded:
                continue  # its network is the same for all seeds
            print(f"{name}, seed {seed}", file=sys.stderr)
            one = bench.tasks(name, seed) if asked.task == "tasks" else bench.one(name, TASKS[asked.task], seed)
            found.setdefault(name, []).append(one)
            result = {
                "task": asked.task,
                "data": data.name,
                "images": asked.images,
                "steps": asked.steps,
                "command": " ".join(["python tests/benchmarks/table_extend.py", *without_folders(sys.argv[1:])]),
                **measured_on(torch.device("cpu")),
                "rows": [summary(name, runs) for name, runs in found.items()],
            }
            write_text(path, json.dumps(result, indent=1) + "\n")
            write_text(path.with_suffix(".md"), markdown(result))
    if asked.task in TASKS:
        write_bytes(path.with_suffix(".png"), bench.picture(TASKS[asked.task]))
    print(json.dumps(result) if asked.json else markdown(result))


if __name__ == "__main__":
    main()
