"""Where a student's accuracy is lost between real and synthetic images: sets of images that differ in one thing.

    python tests/benchmarks/where_it_is_lost.py --teacher cifar_resnet20 --weights FILE --student cifar_resnet20 \
        --real TRAIN.tar --eval TEST.tar --name NAME [--other OTHER.tar]
        [--verifier cifar_resnet56 --verifier-weights FILE]

Every set has the same number of images, and a student from new weights by the same schedule:

    real        training images, with the teacher's soft labels alone
    half        half as many of them: the effect of diversity
    smooth      the same without the upper half of their frequencies: the effect of detail
    inverted    the same after the inversion steps that noise gets: the effect of inversion itself
    other       natural images of other things: the effect of the class
    published   DeepInversion, from noise, by the published recipe in as few steps as natural
    natural     this project's recipe

``held_out`` is the agreement of student and teacher on further images of the same kind. It is low where a kind is hard
to learn, and high where it is learned but differs from the test images. The rest of a row is the images' score by
di-shards score, with the test images for comparison. Results are written to docs/results/NAME.json after every set; a
run that was stopped goes on.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from given_shards import is_there, real_images, write_given
from students import RESULTS, add_options, measured_on, training
from torch import Tensor

from dreamdistill.distill import stage as distill
from dreamdistill.distill.config import DistillConfig
from dreamdistill.invert import stage as invert
from dreamdistill.invert.config import InvertConfig
from dreamdistill.invert.objective import Objective
from dreamdistill.invert.recipe import RECIPES
from dreamdistill.shared.core.config import to_mapping
from dreamdistill.shared.core.device import pick_device
from dreamdistill.shared.core.files import write_text
from dreamdistill.shared.core.numerics import lr_factor
from dreamdistill.shared.data.labelled import labelled_batches, open_labelled
from dreamdistill.shared.models.classifier import Classifier, load_model
from dreamdistill.shared.shards.folder import ShardFolder
from dreamdistill.shared.shards.loaders import make_loader
from dreamdistill.shared.shards.quality import score_folder

KINDS = ("real", "half", "smooth", "inverted", "other", "published", "natural")
STEPS = 200
HELD_OUT = 256  # images


@dataclass(frozen=True, slots=True, kw_only=True)
class Search:
    """What is measured, and with what."""

    asked: argparse.Namespace
    teacher: Classifier

    def make(self, kind: str, folder: Path, *, images: int, seed: int) -> None:
        """Write images of a kind to a shard folder."""
        if kind in ("published", "natural"):
            recipe, changes = {
                "published": ("cifar10-deepinversion", {"steps": (STEPS,), "lr": 0.1, "schedule": "cosine"}),
                "natural": ("natural", {"steps": (STEPS,)}),
            }[kind]
            invert.run(
                InvertConfig(
                    teacher=self.teacher.title,
                    weights=self.teacher.weights,
                    recipe=recipe,
                    changes=changes,
                    images=images,
                    out=folder,
                    seed=seed,
                )
            )
        elif not is_there(folder):
            write_given(folder, self.teacher, *self._given(kind, images, seed), name=kind)

    def _given(self, kind: str, images: int, seed: int) -> tuple[Tensor, Tensor]:
        if kind == "other":
            size = self.teacher.preprocessing
            pixels = torch.cat([p for p, _ in labelled_batches(open_labelled(self.asked.other, 10), size, 1024)])
            order = torch.randperm(len(pixels), generator=torch.Generator().manual_seed(0)).roll(-seed * HELD_OUT)
            pixels_NCHW = pixels[order][torch.arange(images) % len(pixels)]
            return pixels_NCHW, self._predictions(pixels_NCHW)
        pixels_NCHW, labels_N = real_images(self.teacher, self.asked.real, images=images, seed=seed)
        if kind == "smooth":
            spectrum = torch.fft.rfft2(pixels_NCHW.float())
            down = torch.fft.fftfreq(pixels_NCHW.shape[2])[:, None].abs()
            right = torch.fft.rfftfreq(pixels_NCHW.shape[3])[None]
            spectrum = spectrum * ((down < 0.25) & (right < 0.25))
            pixels_NCHW = torch.fft.irfft2(spectrum, s=pixels_NCHW.shape[2:]).round().clamp(0, 255).byte()
        elif kind == "inverted":
            pixels_NCHW = torch.cat([self._inverted(part) for part in pixels_NCHW.split(256)])
        return pixels_NCHW, labels_N

    def _inverted(self, pixels_NCHW: Tensor) -> Tensor:
        """The images after steps of the published objective, with the teacher's predictions as targets."""
        recipe = RECIPES["cifar10-deepinversion"].changed({"alpha_compete": 0.0})
        objective = Objective(recipe, self.teacher.network)
        targets_N = self._predictions(pixels_NCHW)
        x = self.teacher.preprocessing.normalize(pixels_NCHW).requires_grad_()
        optimizer = torch.optim.Adam([x], lr=0.1)
        draw = torch.Generator().manual_seed(0)
        for step in range(STEPS):
            optimizer.param_groups[0]["lr"] = 0.1 * lr_factor(step, STEPS)
            shift = torch.randint(-2, 3, (2,), generator=draw).tolist()
            loss, _ = objective(x, x.roll(shift, (2, 3)), targets_N)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        return self.teacher.preprocessing.to_pixels(x.detach())

    @torch.no_grad()
    def _predictions(self, pixels_NCHW: Tensor) -> Tensor:
        x_NCHW = self.teacher.preprocessing.normalize(pixels_NCHW)
        return torch.cat([self.teacher.network(part).argmax(1) for part in x_NCHW.split(256)])

    def one(self, kind: str) -> dict[str, Any]:
        """A row: the student's accuracy, its agreement on further images, and the images' score."""
        asked, out = self.asked, self.asked.out / self.asked.name / kind
        images = asked.images // 2 if kind == "half" else asked.images
        source = "real" if kind == "half" else kind
        self.make(source, out / "images", images=images, seed=0)
        self.make(source, out / "held_out", images=HELD_OUT, seed=1)
        # The same number of steps for fewer images.
        epochs = asked.epochs * asked.images // images
        report: Any = distill.run(
            DistillConfig(
                shards=out / "images",
                student=asked.student,
                changes=to_mapping(training(asked, epochs=epochs)),
                eval=asked.eval,
                out=out / "student",
            )
        )
        score = score_folder(
            out / "images", verifier=asked.verifier, verifier_weights=asked.verifier_weights, real=asked.eval
        )
        student = load_model(str(out / "student"))
        assert report is not None
        kept = {name: value for name, value in score.flat().items() if not name.startswith("real_")}
        return {
            "kind": kind,
            "top1": report.student_top1,
            "held_out": self._agreement(student, out / "held_out"),
        } | kept

    @torch.no_grad()
    def _agreement(self, student: Classifier, folder: Path) -> float:
        right = seen = 0
        loader = make_loader(
            ShardFolder.open(folder), "auto", batch_size=256, shuffle=False, seed=0, device=torch.device("cpu")
        )
        for batch in loader:
            logits_NK = student.network(student.preprocessing.normalize(batch.images))
            right += int((logits_NK.argmax(1) == batch.logits.argmax(1)).sum())
            seen += len(batch)
        return right / seen


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    add_options(parser, epochs=120)
    parser.add_argument("--real", required=True, help="training images, as for --eval")
    parser.add_argument("--other", help="natural images of other things; without them there is no such row")
    parser.add_argument("--verifier", help="as for di-shards score")
    parser.add_argument("--verifier-weights")
    parser.add_argument("--name", required=True, help="name of the results")
    parser.add_argument("--kinds", default=",".join(KINDS))
    parser.add_argument("--out", type=Path, default=Path("runs/where_it_is_lost"))
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--images", type=int, default=512)
    asked = parser.parse_args()
    search = Search(asked=asked, teacher=load_model(asked.teacher, weights=asked.weights))
    asked.results.mkdir(parents=True, exist_ok=True)
    rows: list[dict[str, Any]] = []
    for kind in KINDS:
        if kind in asked.kinds.split(",") and (kind != "other" or asked.other):
            rows.append(search.one(kind))
            print(json.dumps(rows[-1]), flush=True)
            result = {
                "teacher": search.teacher.architecture,
                "student": asked.student,
                "data": Path(asked.eval).name,
                "images": asked.images,
                "epochs": asked.epochs,
                "seeds": 1,
                **measured_on(pick_device("auto")),
                "rows": rows,
            }
            write_text(asked.results / f"{asked.name}.json", json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
