"""Table 1 of DeepInversion (Yin et al. 2020) for any teacher: what a student learns from each kind of images.

    python tests/benchmarks/table_cifar10.py --teacher digits_cnn --student digits_cnn_small --budget small \
        --real digits:train --eval digits --no-flip --jitter 1 --crop pad --mixup 0 --name digits
    python tests/benchmarks/table_cifar10.py --teacher cifar_resnet20 --weights FILE --student cifar_resnet20 \
        --budget small --real TRAIN.tar --eval TEST.tar --name cifar10-jpeg

The rows: noise; DeepDream, DeepInversion and ADI by the published recipes; natural, adaptive rounds of this project's
own recipe; and real, as many real training images with the teacher's soft labels, the upper bound for this number of
images. All have the same number of images, and a student from new weights by the same schedule. A seed is the seed of
images and student together.

Budgets: ``paper`` takes the published recipes as they are. The smaller ones give each recipe the same smaller number of
steps, with twice the published learning rate and a cosine, so that they converge. Results are written to
docs/results/NAME.json, .md and .png after every student, so that a table that was stopped goes on.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from given_shards import is_there, real_images, write_given
from pictures import as_png, of_shards
from students import RESULTS, add_options, measured_on, training
from table_rows import BUDGETS, Budget, markdown, summary, without_folders

from dreamdistill.distill import stage as distill
from dreamdistill.distill.config import DistillConfig
from dreamdistill.distill.recipe import Training
from dreamdistill.invert import stage as invert
from dreamdistill.invert.config import InvertConfig
from dreamdistill.shared.core.config import to_mapping
from dreamdistill.shared.core.device import pick_device
from dreamdistill.shared.core.files import write_bytes, write_text
from dreamdistill.shared.data.accuracy import top1
from dreamdistill.shared.data.labelled import LabelledSet, labelled_batches, open_labelled
from dreamdistill.shared.models.classifier import Classifier, load_model
from dreamdistill.shared.shards.folder import ShardFolder

METHODS = ("noise", "deepdream", "deepinversion", "adi", "natural", "real")
ADAPTIVE = ("adi", "natural")
RECIPES = {
    "noise": "noise",
    "deepdream": "cifar10-deepdream",
    "deepinversion": "cifar10-deepinversion",
    "adi": "cifar10-deepinversion",
    "natural": "natural",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """What a table measures, and with which settings.

    Attributes:
        changes: to the recipes.
        real: training images, as for ``--eval``, or None.
        eval: test images.
        relabelled: the test images with the teacher's predictions as labels.
    """

    budget: Budget
    teacher: Classifier
    student: str
    training: Training
    changes: dict[str, Any]
    real: str | None
    eval: str
    relabelled: LabelledSet
    out: Path
    device: str

    def invert(self, method: str, folder: Path, seed: int, **more: Any) -> float:
        """Make a method's images, or one round of them. Returns the seconds of the workers."""
        changes = dict(self.changes)
        if self.budget.steps is not None and method in ("deepdream", "deepinversion", "adi"):
            changes = {"steps": (self.budget.steps,), "lr": 0.1, "schedule": "cosine", **changes}
        settings = {"images": self.budget.images, **more}
        config = InvertConfig(
            teacher=self.teacher.title,
            weights=self.teacher.weights,
            mean=self.teacher.preprocessing.mean,
            std=self.teacher.preprocessing.std,
            image_size=self.teacher.preprocessing.image_size,
            recipe=RECIPES[method],
            changes={} if method == "noise" else changes,
            out=folder,
            seed=seed,
            device=self.device,
            **settings,
        )
        invert.run(config)
        return sum(record.seconds for record in ShardFolder.open(folder).records.values())

    def distill(self, folder: Path, out: Path, seed: int, *, training: Training | None = None, **more: Any) -> Any:
        settings = {"student": self.student, "changes": to_mapping(training or self.training), **more}
        return distill.run(
            DistillConfig(shards=folder, out=out, seed=seed, eval=self.eval, device=self.device, **settings)
        )

    def adapt(self, method: str, folder: Path, seed: int) -> float:
        """Rounds of equal size that compete with a student, which goes on from round to round. Returns all seconds."""
        count, shares = self.budget.rounds, self.budget.images
        images = [shares // count + (number < shares % count) for number in range(count)]
        training = replace(self.training, epochs=self.budget.round_epochs)
        students: list[Path] = []
        seconds = self.invert(method, folder, seed, images=images[0])
        trained = 0.0
        for number in range(1, count):
            out = folder.with_name(f"student_{number}")
            start = {"student": None, "init": students[-1]} if students else {}
            trained += self.distill(folder, out, seed, rounds=number, training=training, **start).seconds
            students.append(out)
            seconds = self.invert(method, folder, seed, images=images[number], append=True, compete_with=str(out))
        return seconds + trained

    def one(self, method: str, seed: int) -> dict[str, float]:
        """One student of one method, and its seconds. What an earlier call has done is not done again."""
        folder = self.out / method / str(seed)
        synthetic = folder / "images"
        if method == "real":
            assert self.real is not None
            if not is_there(synthetic):
                given = real_images(self.teacher, self.real, images=self.budget.images, seed=seed)
                write_given(synthetic, self.teacher, *given, name="real")
            seconds = 0.0
        else:
            seconds = (self.adapt if method in ADAPTIVE else self.invert)(method, synthetic, seed)
        report = self.distill(synthetic, folder / "student", seed)
        student = load_model(str(folder / "student"), device=pick_device(self.device))
        return {
            "top1": report.student_top1,
            "agreement": top1(student.network, self.relabelled, student.preprocessing),
            "images_seconds": seconds,
            "student_seconds": report.seconds,
        }


@torch.no_grad()
def with_teacher_labels(teacher: Classifier, images: LabelledSet) -> LabelledSet:
    """The same images with the teacher's predictions as labels: top-1 on them is the agreement with the teacher.

    It says how much of the teacher a student has learned. Top-1 on the true labels does not: where the test images
    differ from the teacher's training images, a student of real images may surpass the teacher."""
    batches = labelled_batches(images, teacher.preprocessing, 256)
    outputs = [teacher.network(teacher.preprocessing.normalize(pixels)).argmax(1) for pixels, _ in batches]
    labels = torch.cat(outputs).tolist()
    return replace(
        images, read=lambda: ((image, label) for (image, _), label in zip(images.read(), labels, strict=True))
    )


def picture(table: Table, methods: list[str]) -> bytes:
    """A row of images for each method."""
    return as_png([of_shards(table.out / method / "0" / "images") for method in methods])


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    add_options(parser, epochs=None)
    parser.add_argument("--budget", choices=BUDGETS, default="small")
    parser.add_argument("--real", help="training images of the last row, as for --eval [default: no such row]")
    parser.add_argument("--data", help="name of the test images in the table [default: --eval]")
    parser.add_argument("--name", help="name of the results [default: TEACHER-STUDENT-BUDGET]")
    parser.add_argument("--methods", default=",".join(METHODS), help="rows, separated by commas")
    parser.add_argument("--out", type=Path, default=Path("runs/table"), help="images and students go to OUT/NAME")
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--images", type=int, help="in place of the budget's")
    parser.add_argument("--steps", type=int, help="of the published recipes, in place of the budget's")
    parser.add_argument("--seeds", type=int, help="in place of the budget's")
    parser.add_argument("--jitter", type=int, help="jitter of every recipe, in place of its own: 1 for 8x8 images")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--json", action="store_true", help="print the result on stdout")
    asked = parser.parse_args()

    changes = {name: value for name in ("images", "steps", "epochs", "seeds") if (value := getattr(asked, name))}
    budget = replace(BUDGETS[asked.budget], **changes)
    teacher = load_model(asked.teacher, weights=asked.weights)
    images = open_labelled(asked.eval, teacher.num_classes)
    name = asked.name or f"{teacher.architecture}-{asked.student}-{asked.budget}".replace("/", "-")
    table = Table(
        budget=budget,
        teacher=teacher,
        student=asked.student,
        training=training(asked, epochs=budget.epochs),
        changes=({} if asked.jitter is None else {"jitter": asked.jitter}) | ({} if asked.flip else {"flip": False}),
        real=asked.real,
        eval=asked.eval,
        relabelled=with_teacher_labels(teacher, images),
        out=asked.out / name,
        device=asked.device,
    )
    methods = [m for m in METHODS if m in asked.methods.split(",") and (m != "real" or asked.real)]
    measured = top1(teacher.network, images, teacher.preprocessing)
    asked.results.mkdir(parents=True, exist_ok=True)
    found: dict[str, list[dict[str, float]]] = {}
    result: dict[str, Any] = {}
    for seed in range(budget.seeds):  # all rows of one seed first, so that a table that is stopped has all rows
        for method in methods:
            print(f"{method}, seed {seed}", file=sys.stderr)
            found.setdefault(method, []).append(table.one(method, seed))
            result = {
                "teacher": teacher.architecture,
                "teacher_top1": measured,
                "student": asked.student,
                "data": asked.data or Path(asked.eval).name,
                "budget": asked.budget,
                "command": " ".join(["python tests/benchmarks/table_cifar10.py", *without_folders(sys.argv[1:])]),
                **measured_on(pick_device(asked.device)),
                "rows": [summary(m, budget.images, found[m]) for m in methods if m in found],
            }
            write_text(asked.results / f"{name}.json", json.dumps(result, indent=1) + "\n")
            write_text(asked.results / f"{name}.md", markdown(result))
    write_bytes(asked.results / f"{name}.png", picture(table, methods))
    print(json.dumps(result) if asked.json else markdown(result))


if __name__ == "__main__":
    main()
