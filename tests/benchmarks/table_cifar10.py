"""Table 1 of DeepInversion (Yin et al. 2020) on a teacher of yours: what a student learns from each kind of images.

    python tests/benchmarks/table_cifar10.py --teacher digits_cnn --student digits_cnn_small --budget small \
        --real digits:train --eval digits --no-flip --jitter 1 --crop pad --mixup 0 --name digits
    python tests/benchmarks/table_cifar10.py --teacher cifar_resnet20 --weights FILE --student cifar_resnet20 \
        --budget small --real TRAIN.tar --eval TEST.tar --name cifar10-jpeg

The rows: noise; DeepDream, DeepInversion and ADI by the published recipes; ours, adaptive rounds too, of this project's
own recipe; and real, as many real training images for the teacher's soft labels, the ceiling of that number of images.
All have the same number of images, and a student from new weights by the same schedule; a seed is one of images and
student together.

Budgets: ``paper`` takes the published recipes as they are; the smaller ones give each the same smaller number of steps,
with twice the published learning rate and a cosine, so that they arrive. Results go to docs/results/NAME.json, .md and
.png, after every student, so that a table that was stopped goes on, and shows how far it is.
"""

from __future__ import annotations

import argparse
import io
import json
import statistics
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from given_shards import is_there, real_images, write_given
from PIL import Image
from students import RESULTS, add_options, measured_on, training

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
from dreamdistill.shared.shards.contact_sheet import contact_sheet
from dreamdistill.shared.shards.folder import ShardFolder

METHODS = ("noise", "deepdream", "deepinversion", "adi", "ours", "real")
ADAPTIVE = ("adi", "ours")
RECIPES = {
    "noise": "noise",
    "deepdream": "cifar10-deepdream",
    "deepinversion": "cifar10-deepinversion",
    "adi": "cifar10-deepinversion",
    "ours": "natural",
}
PICTURED = 10  # images a row


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """images: of each method; steps: of the published recipes, None as published; epochs: of a student; rounds: of
    images of the adaptive methods, each but the first against a student of round_epochs more; seeds: as many."""

    images: int
    steps: int | None
    epochs: int
    rounds: int
    round_epochs: int
    seeds: int


BUDGETS = {
    "small": Budget(images=512, steps=200, epochs=125, rounds=2, round_epochs=125, seeds=3),
    "medium": Budget(images=5120, steps=1000, epochs=120, rounds=4, round_epochs=30, seeds=3),
    "paper": Budget(images=50176, steps=None, epochs=300, rounds=4, round_epochs=50, seeds=3),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """What a table is of; said: the test images, labelled by the teacher."""

    budget: Budget
    teacher: Classifier
    student: str
    training: Training
    changes: dict[str, Any]
    real: str | None
    eval: str
    said: LabelledSet
    out: Path
    device: str

    def invert(self, method: str, folder: Path, seed: int, **more: Any) -> float:
        """Make a method's images, or a round of them; seconds of the workers."""
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
        """Rounds of equal size against a student that goes on from round to round; seconds of all of it."""
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
        """One student of one method, and what it took; what is done already is not done again."""
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
            "agreement": top1(student.network, self.said, student.preprocessing),
            "images_seconds": seconds,
            "student_seconds": report.seconds,
        }


@torch.no_grad()
def as_said(teacher: Classifier, images: LabelledSet) -> LabelledSet:
    """The same images with the teacher's answers for labels, on which top-1 is how much of the teacher has come over.
    A student's own top-1 does not say: where images are unlike the teacher's, a student of real ones may surpass it."""
    batches = labelled_batches(images, teacher.preprocessing, 256)
    answers = [teacher.network(teacher.preprocessing.normalize(pixels)).argmax(1) for pixels, _ in batches]
    labels = torch.cat(answers).tolist()
    return replace(images, read=lambda: ((image, said) for (image, _), said in zip(images.read(), labels, strict=True)))


def summary(method: str, budget: Budget, found: list[dict[str, float]]) -> dict[str, Any]:
    """A row; mean and std are of top-1, 0 to 1; agreement: with the teacher, a mean; seconds: of a seed's images and
    student."""
    accuracies = [one["top1"] for one in found]
    seconds = {part: statistics.mean(one[f"{part}_seconds"] for one in found) for part in ("images", "student")}
    return {
        "method": method,
        "mean": statistics.mean(accuracies),
        "std": statistics.stdev(accuracies) if len(accuracies) > 1 else 0.0,
        "agreement": statistics.mean(one["agreement"] for one in found),
        "seeds": len(accuracies),
        "images": budget.images,
        "seconds": round(sum(seconds.values()), 1),
        "images_seconds": round(seconds["images"], 1),
        "student_seconds": round(seconds["student"], 1),
        "top1": accuracies,
    }


def markdown(result: dict[str, Any]) -> str:
    lines = [
        f"# {result['teacher']} to {result['student']}, {result['data']}, budget {result['budget']}",
        "",
        f"`{result['command']}`  ",
        f"{result['hardware']}, {result['date']}. The teacher: {100 * result['teacher_top1']:.2f} %.",
        "",
        "| images | student's top-1 | to the teacher | says as the teacher | seeds | number of images | making them |"
        " the student |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in result["rows"]:
        spread = f" ± {100 * row['std']:.2f}" if row["seeds"] > 1 else ""
        gap = 100 * (row["mean"] - result["teacher_top1"])
        lines.append(
            f"| {row['method']} | {100 * row['mean']:.2f}{spread} % | {gap:+.2f} | {100 * row['agreement']:.1f} % |"
            f" {row['seeds']} | {row['images']:,} | {row['images_seconds']:.0f} s | {row['student_seconds']:.0f} s |"
        )
    return "\n".join(lines) + "\n"


def picture(table: Table, methods: list[str]) -> bytes:
    """A row of images a method, of as many classes."""
    rows: list[list[Image.Image]] = []
    for method in methods:
        folder = ShardFolder.open(table.out / method / "0" / "images")
        first: dict[int, Image.Image] = {}
        for number in folder.records:
            for sample in folder.samples(number):
                first.setdefault(sample.target, Image.open(io.BytesIO(sample.image)).convert("RGB"))
        rows.append([first[target] for target in sorted(first)[:PICTURED]])
    buffer = io.BytesIO()
    contact_sheet(rows).save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    add_options(parser, epochs=None)
    parser.add_argument("--budget", choices=BUDGETS, default="small")
    parser.add_argument("--real", help="training images of the last row, as for --eval; without them there is none")
    parser.add_argument("--data", help="what the table calls the test images [default: --eval]")
    parser.add_argument("--name", help="of the results [default: TEACHER-STUDENT-BUDGET]")
    parser.add_argument("--methods", default=",".join(METHODS), help="rows, separated by commas")
    parser.add_argument("--out", type=Path, default=Path("runs/table"), help="images and students go to OUT/NAME")
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--images", type=int, help="in place of the budget's")
    parser.add_argument("--steps", type=int, help="of the published recipes, in place of the budget's")
    parser.add_argument("--seeds", type=int, help="in place of the budget's")
    parser.add_argument("--jitter", type=int, help="of every recipe, in place of its own: 8x8 images take 1")
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
        said=as_said(teacher, images),
        out=asked.out / name,
        device=asked.device,
    )
    methods = [m for m in METHODS if m in asked.methods.split(",") and (m != "real" or asked.real)]
    measured = top1(teacher.network, images, teacher.preprocessing)
    asked.results.mkdir(parents=True, exist_ok=True)
    found: dict[str, list[dict[str, float]]] = {}
    result: dict[str, Any] = {}
    for seed in range(budget.seeds):  # all rows of one seed first: a table that is stopped is a table still
        for method in methods:
            print(f"{method}, seed {seed}", file=sys.stderr)
            found.setdefault(method, []).append(table.one(method, seed))
            result = {
                "teacher": teacher.architecture,
                "teacher_top1": measured,
                "student": asked.student,
                "data": asked.data or Path(asked.eval).name,
                "budget": asked.budget,
                "command": " ".join(["python tests/benchmarks/table_cifar10.py", *_named(sys.argv[1:])]),
                **measured_on(pick_device(asked.device)),
                "rows": [summary(m, budget, found[m]) for m in methods if m in found],
            }
            write_text(asked.results / f"{name}.json", json.dumps(result, indent=1) + "\n")
            write_text(asked.results / f"{name}.md", markdown(result))
    write_bytes(asked.results / f"{name}.png", picture(table, methods))
    print(json.dumps(result) if asked.json else markdown(result))


def _named(words: list[str]) -> list[str]:
    """The command's words, files by their name alone: folders are this machine's affair."""
    return [Path(word).name if "/" in word else word for word in words]


if __name__ == "__main__":
    main()
