"""How well a classifier learns new classes without the old ones' images, beside other losses and real old images.

    python tests/benchmarks/table_extend.py --task 5+5 --json
    python tests/benchmarks/table_extend.py --task tasks --json

On scikit-learn's digits: a teacher that learned the first classes alone, 512 synthetic images of it, and real images of
the other classes. ``tasks`` begins with two classes and adds two more four times, with images of the last network each
time. Accuracies are of the 450 test digits, in one label space. Seeds are those of teacher, images and training.
Results are written to docs/results/extend-digits-TASK.json and .md after every run, so that a table that was stopped
goes on.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from extend_rows import markdown, summary
from given_shards import is_there, real_images, write_given
from students import RESULTS, measured_on

from dreamdistill.distill.extend import stage as extend
from dreamdistill.distill.extend.config import ExtendConfig
from dreamdistill.distill.extend.report import ExtendReport
from dreamdistill.invert import stage as invert
from dreamdistill.invert.config import InvertConfig
from dreamdistill.pipelines.teachers import digits
from dreamdistill.shared.core.files import write_text
from dreamdistill.shared.data.accuracy import top1
from dreamdistill.shared.data.labelled import open_labelled
from dreamdistill.shared.models.classifier import load_model

CLASSES = 10
TASKS = {"5+5": 5, "8+2": 8}  # number of the old classes


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A row of the table: the loss, the share of a batch that is new images, and what is replayed."""

    criterion: str
    share: float = 0.5
    real: bool = False


ROWS = {
    "fine-tuning": Row(criterion="ce", share=1),
    "LwF.MC": Row(criterion="lwf-mc", share=1),
    "DeepInversion's loss": Row(criterion="deepinversion"),
    "ABD's loss": Row(criterion="abd"),
    "cross-entropy": Row(criterion="ce"),
    "DeepInversion's loss, real old images": Row(criterion="deepinversion", real=True),
    "cross-entropy, real old images": Row(criterion="ce", real=True),
}
OF_TASKS = ("DeepInversion's loss", "ABD's loss", "cross-entropy")
ALL = "all real images at once"


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """The settings of a table.

    Attributes:
        images: of the old classes, synthetic or real.
        steps: of each training, at least.
        out: for teachers, images and networks.
    """

    images: int
    steps: int
    out: Path

    def teacher(self, old: int, seed: int) -> Path:
        """The weights of a network that learned the first classes alone."""
        path = self.out / f"teacher-{old}-{seed}.safetensors"
        if not path.exists():
            network = digits.train(seed, last=old - 1)
            images = open_labelled(f"digits:0-{old - 1}", old)
            self.out.mkdir(parents=True, exist_ok=True)
            digits.save(path, network, seed=seed, accuracy=top1(network, images, digits.preprocessing()))
        return path

    def invert(self, folder: Path, seed: int, **teacher: Any) -> Path:
        """Synthetic images of a teacher."""
        changes = {"flip": False, "jitter": 0}
        config = InvertConfig(
            **teacher, recipe="natural", images=self.images, workers=1, out=folder, seed=seed, changes=changes
        )
        invert.run(config)
        return folder

    def shards(self, old: int, seed: int, *, real: bool) -> Path:
        """The images of the old classes."""
        teacher = {"teacher": "digits_cnn", "weights": str(self.teacher(old, seed)), "num_classes": old}
        folder = self.out / f"{'real' if real else 'images'}-{old}-{seed}"
        if not real:
            return self.invert(folder, seed, **teacher)
        if not is_there(folder):
            classifier = load_model("digits_cnn", weights=teacher["weights"], num_classes=old)
            given = real_images(classifier, f"digits:train:0-{old - 1}", images=self.images, seed=seed)
            write_given(folder, classifier, *given, name="real")
        return folder

    def extend(self, row: Row, shards: Path, out: Path, seed: int, *, first: int, last: int) -> ExtendReport:
        """A network that learns the classes from ``first`` to ``last``."""
        settings: dict[str, Any] = {
            "shards": shards,
            "new": f"digits:train:{first}-{last}",
            "eval": f"digits:0-{last}",
            "share": row.share,
            "criterion": row.criterion,
            "out": out,
            "seed": seed,
        }
        changes = {"flip": False, "loader": "webdataset"}
        batches = len(extend.ExtendJob.of(ExtendConfig(**settings, changes=changes)).loader("webdataset"))
        return extend.run(ExtendConfig(**settings, changes={**changes, "epochs": -(-self.steps // batches)}))

    def one(self, name: str, old: int, seed: int) -> dict[str, float]:
        """One network of a table of two tasks. What an earlier call has done is not done again."""
        if name == ALL:
            network = load_model("digits_cnn", weights=str(self.teacher(CLASSES, seed)))
            return {"joint": top1(network.network, open_labelled("digits", CLASSES), network.preprocessing)}
        row = ROWS[name]
        shards = self.shards(old, seed, real=row.real)
        out = self.out / f"{old}-{name.replace(' ', '_').replace(',', '')}-{seed}"
        return figures(self.extend(row, shards, out, seed, first=old, last=CLASSES - 1))

    def tasks(self, name: str, seed: int) -> dict[str, float]:
        """Two classes, and two more four times; each network makes the images for the next."""
        shards = self.shards(2, seed, real=False)
        found: dict[str, float] = {}
        for first in range(2, CLASSES, 2):
            out = self.out / f"tasks-{name.replace(' ', '_')}-{seed}-{first}"
            report = self.extend(ROWS[name], shards, out, seed, first=first, last=first + 1)
            found |= {**figures(report), f"joint_{first + 2}": report.top1_joint or 0.0}
            if first + 2 < CLASSES:
                shards = self.invert(out.with_name(f"{out.name}-images"), seed, teacher=str(out))
        return found


def figures(report: ExtendReport) -> dict[str, float]:
    """What a row shows of a run, shares from 0 to 1 but for the seconds."""
    found = {
        "joint": report.top1_joint,
        "old": report.top1_old,
        "new": report.top1_new,
        "before": report.top1_old_before,
        "separation_before": report.separation_before,
        "separation": report.separation,
        "seconds": report.seconds,
    }
    return {name: value for name, value in found.items() if value is not None}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--task", choices=(*TASKS, "tasks"), default="5+5")
    parser.add_argument("--rows", help="names of rows, separated by semicolons [default: all]")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--images", type=int, default=512, help="of the old classes, in all")
    parser.add_argument("--steps", type=int, default=320, help="of each training, rounded up to whole epochs")
    parser.add_argument("--out", type=Path, default=Path("runs/table_extend"), help="teachers, images and networks")
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--json", action="store_true", help="print the result on stdout")
    asked = parser.parse_args()

    bench = Bench(images=asked.images, steps=asked.steps, out=asked.out)
    known = OF_TASKS if asked.task == "tasks" else (*ROWS, ALL)
    names = [name for name in known if asked.rows is None or name in asked.rows.split(";")]
    path = asked.results / f"extend-digits-{asked.task.replace('+', '-')}.json"
    asked.results.mkdir(parents=True, exist_ok=True)
    found: dict[str, list[dict[str, float]]] = {}
    result: dict[str, Any] = {}
    for seed in range(asked.seeds):  # all rows of one seed first, so that a table that is stopped has all rows
        for name in names:
            print(f"{name}, seed {seed}", file=sys.stderr)
            one = bench.tasks(name, seed) if asked.task == "tasks" else bench.one(name, TASKS[asked.task], seed)
            found.setdefault(name, []).append(one)
            result = {
                "task": asked.task,
                "data": "digits",
                "images": asked.images,
                "steps": asked.steps,
                "command": f"python tests/benchmarks/table_extend.py --task {asked.task} --seeds {asked.seeds}",
                **measured_on(torch.device("cpu")),
                "rows": [summary(name, runs) for name, runs in found.items()],
            }
            write_text(path, json.dumps(result, indent=1) + "\n")
            write_text(path.with_suffix(".md"), markdown(result))
    print(json.dumps(result) if asked.json else markdown(result))


if __name__ == "__main__":
    main()
