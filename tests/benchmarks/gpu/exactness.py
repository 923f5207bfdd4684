"""GPU day, part f: is the result exact?

* ``di-invert`` run twice writes the same bytes, eager and compiled.
* The terms of the objective in bfloat16 differ from those in float32 by less than :data:`BFLOAT16_BOUND`, and those in
  float32 on the GPU from those on the CPU by less than :data:`DEVICE_BOUND`.
* For the stored images, the teacher on the CPU names the classes that it names on the GPU.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import torch
from gpu.part import Run, run_part, with_noise_statistics
from torch import Tensor

from dreamdistill.invert import stage as invert
from dreamdistill.invert.config import InvertConfig
from dreamdistill.invert.objective import Objective
from dreamdistill.invert.recipe import RECIPES
from dreamdistill.shared.core.files import sha256_of_file
from dreamdistill.shared.models.classifier import load_model
from dreamdistill.shared.shards.batches import Loader
from dreamdistill.shared.shards.folder import ShardFolder
from dreamdistill.shared.shards.loaders import make_loader

BFLOAT16_BOUND = 0.05  # relative; on the CPU the forms differ by up to 0.02 in bfloat16
DEVICE_BOUND = 0.01  # relative; convolutions use TF32 on a GPU, with 10 bits of mantissa
COMPILING = 20  # seconds


def measure(run: Run) -> None:
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        eager = equal_bytes(run, folder, compile="off")
        run.write(f"bytes of two runs, eager: {'equal' if eager else 'DIFFERENT'}", bytes_equal={"eager": eager})
        labels = agreeing_labels(run, folder / "off 0")
        run.write(f"CPU and GPU name the same class for {labels['share']:.2%} of the images", labels=labels)
        terms = different_terms(run)
        worst = {name: max(found["terms"].values()) for name, found in terms.items()}
        text = ", ".join(f"{name} {value:.1e}" for name, value in worst.items())
        run.write(f"largest relative difference of a term: {text}", terms=terms, within_bounds=within(worst))
        if run.rehearse or run.left() > COMPILING:
            compiled = equal_bytes(run, folder, compile="on")
            line = f"bytes of two runs, compiled: {'equal' if compiled else 'DIFFERENT'}"
            run.write(line, bytes_equal={"eager": eager, "compiled": compiled})


def equal_bytes(run: Run, folder: Path, *, compile: str) -> bool:
    """Whether ``di-invert``, run twice, writes tars of the same bytes: natural images of the shipped digits teacher."""
    steps, images = (2, 8) if run.rehearse else (50, 256)
    tars: list[list[str]] = []
    for number in range(2):
        out = folder / f"{compile} {number}"
        config = InvertConfig(
            teacher="digits_cnn",
            recipe="natural",
            changes={"steps": (steps,)},
            images=images,
            shard_size=images // 2,
            out=out,
            compile=compile,
            workers=1,
            device=str(run.device),
        )
        torch.compiler.reset()
        invert.run(config)
        tars.append([sha256_of_file(path) for path in sorted(out.glob("*.tar"))])
    return tars[0] == tars[1]


@torch.no_grad()
def agreeing_labels(run: Run, shards: Path) -> dict[str, Any]:
    """The share of stored images for which the teacher names one class on both devices, and in the stored logits."""
    folder = ShardFolder.open(shards)
    loader: Loader = make_loader(
        folder, "webdataset", batch_size=256, shuffle=False, seed=0, device=torch.device("cpu")
    )
    images = torch.cat([batch.images for batch in loader])
    stored_NK = torch.cat([batch.logits for batch in loader])
    logits: list[Tensor] = []
    for device in (torch.device("cpu"), run.device):
        teacher = load_model("digits_cnn", device=device)
        logits.append(teacher.network(teacher.preprocessing.normalize(images.to(device))).cpu())
    same = logits[0].argmax(1) == logits[1].argmax(1)
    return {
        "images": len(images),
        "share": float(same.double().mean()),
        "share_stored": float((stored_NK.argmax(1) == logits[0].argmax(1)).double().mean()),
        "largest_difference": float((logits[0] - logits[1]).abs().max()),
        "largest_logit": float(logits[0].abs().max()),
    }


def different_terms(run: Run) -> dict[str, dict[str, Any]]:
    """Relative differences of each term and of the gradient: bfloat16 and float32, and float32 on GPU and CPU."""
    name, count = ("cifar_resnet20", 2) if run.rehearse else ("cifar_resnet34", 16)
    classifier = load_model(name, weights="none")
    noise = torch.Generator().manual_seed(0)
    x_NCHW = torch.randn(classifier.preprocessing.blank(count).shape, generator=noise)
    with_noise_statistics(classifier.network, torch.randn(x_NCHW.shape, generator=noise))
    recipe = RECIPES["cifar10-deepinversion"].changed({"alpha_compete": 0.0})

    def evaluated(device: torch.device, precision: str) -> tuple[dict[str, float], Tensor]:
        objective = Objective(recipe, classifier.network.to(device), precision=precision)
        x = x_NCHW.to(device).requires_grad_()
        loss, terms = objective(x, x, (torch.arange(count) % classifier.num_classes).to(device))
        (gradient,) = torch.autograd.grad(loss, x)
        return {name: float(term.detach()) for name, term in terms.items()}, gradient.cpu()

    cpu = evaluated(torch.device("cpu"), "float32")
    here = evaluated(run.device, "float32")
    half = evaluated(run.device, "bfloat16")
    return {"bfloat16": _differences(half, here), "device": _differences(here, cpu)}


def _differences(found: tuple[dict[str, float], Tensor], expected: tuple[dict[str, float], Tensor]) -> dict[str, Any]:
    terms = {name: abs(found[0][name] - value) / max(abs(value), 1e-12) for name, value in expected[0].items()}
    return {"terms": terms, "gradient": float((found[1] - expected[1]).norm() / expected[1].norm())}


def within(worst: dict[str, float]) -> dict[str, bool]:
    return {"bfloat16": worst["bfloat16"] <= BFLOAT16_BOUND, "device": worst["device"] <= DEVICE_BOUND}


if __name__ == "__main__":
    run_part(measure)
