"""The trainer with criteria that it does not know: other losses, and modules that are trained beside the student."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dreamdistill.distill import trainer
from dreamdistill.distill.config import DistillConfig
from dreamdistill.distill.criterion import Criterion
from dreamdistill.distill.recipe import Training
from dreamdistill.distill.trainer import train
from dreamdistill.distill.views import View, Views
from dreamdistill.shared.core.config import to_mapping
from dreamdistill.shared.core.errors import StoppedError
from dreamdistill.shared.models.compiling import Compiler
from dreamdistill.shared.models.preprocessing import Preprocessing
from dreamdistill.shared.models.results import ResultFolder
from dreamdistill.shared.models.students import new_network
from dreamdistill.shared.shards.batches import Batch, Loader
from dreamdistill.shared.shards.folder import ShardFolder
from dreamdistill.shared.shards.loaders import make_loader

DIGITS = Preprocessing(mean=(0.305,), std=(0.376,), image_size=8)


class CrossEntropy(Criterion):
    """The shards' targets as hard labels, mixed as the images are."""

    def targets(self, view: View) -> tuple[Tensor, ...]:
        return (view.labels(F.one_hot(view.batch.targets, 10).float()),)

    def __call__(self, outputs: tuple[Tensor, ...], targets: tuple[Tensor, ...]) -> Tensor:
        return F.cross_entropy(outputs[0], targets[0])


class WithBrightness(nn.Module):
    """A student, and a second head that predicts the brightness of the image from the logits."""

    def __init__(self, student: nn.Module) -> None:
        super().__init__()
        self.student = student
        self.head = nn.Linear(10, 1)

    def forward(self, x_NCHW: Tensor) -> tuple[Tensor, Tensor]:
        logits_NK = self.student(x_NCHW)
        return logits_NK, self.head(logits_NK)


class Brightness(CrossEntropy):
    """Cross-entropy, and the error of a head that is trained beside the student."""

    def wrap(self, student: nn.Module) -> nn.Module:
        return WithBrightness(student)

    def targets(self, view: View) -> tuple[Tensor, ...]:
        return *super().targets(view), view.x_NCHW.mean((1, 2, 3))

    def __call__(self, outputs: tuple[Tensor, ...], targets: tuple[Tensor, ...]) -> Tensor:
        return super().__call__(outputs, targets) + F.mse_loss(outputs[1][:, 0], targets[1])


class StopsAfter:
    """A loader that ends the run in the middle of an epoch."""

    def __init__(self, loader: Loader, batches: int) -> None:
        self.loader, self.batches = loader, batches

    def __iter__(self) -> Iterator[Batch]:
        for batch in self.loader:
            if not self.batches:
                raise StoppedError("stopped")
            self.batches -= 1
            yield batch

    def __len__(self) -> int:
        return len(self.loader)

    def state_dict(self) -> dict:
        return self.loader.state_dict()

    def load_state_dict(self, state: dict) -> None:
        self.loader.load_state_dict(state)


def run(
    shards: Path,
    out: Path,
    criterion: Criterion,
    *,
    epochs: int,
    mixup: float = 0.5,
    stop_after: int | None = None,
    compiler: Compiler | None = None,
) -> nn.Module:
    training = Training(epochs=epochs, batch_size=10, lr=0.05, warmup_epochs=1, flip=False, mixup=mixup)
    folder = ResultFolder.open(DistillConfig(out=out, shards=shards, changes=to_mapping(training)))
    _, student = new_network("digits_cnn_small", num_classes=10, preprocessing=DIGITS, seed=0)
    loader: Loader = make_loader(
        ShardFolder.open(shards), "webdataset", batch_size=10, shuffle=True, seed=0, device=torch.device("cpu")
    )
    train(
        student,
        loader if stop_after is None else StopsAfter(loader, stop_after),
        criterion,
        views=Views(training=training, preprocessing=DIGITS, relabelled=False),
        training=training,
        example_NCHW=DIGITS.blank(1),
        folder=folder,
        seed=0,
        title="test",
        compiler=compiler,
    )
    return student


def losses(out: Path) -> list[float]:
    return [json.loads(line)["loss"] for line in (out / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("criterion", [CrossEntropy(), Brightness()], ids=["cross-entropy", "brightness"])
def test_a_criterion_of_ones_own_is_trained(shards: Path, tmp_path: Path, criterion: Criterion) -> None:
    student = run(shards, tmp_path, criterion, epochs=20, mixup=0.0)
    assert len(losses(tmp_path)) == 20
    assert sum(losses(tmp_path)[-3:]) < 0.8 * sum(losses(tmp_path)[:3])
    assert not student.training


@pytest.mark.parametrize("compiles", [False, True])
def test_what_is_trained_beside_the_student_is_in_the_checkpoint_and_a_stopped_run_goes_on(
    shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, compiles: bool
) -> None:
    monkeypatch.setattr(trainer, "SAVING", math.inf)  # a checkpoint each epoch, however slow the disk is
    lines: list[str] = []
    compiler = Compiler(device=torch.device("cpu"), log=lines.append, shapes=1) if compiles else None
    expected = run(shards, tmp_path / "whole", Brightness(), epochs=4, compiler=compiler)
    assert [line.rpartition(" for ")[0] for line in lines] == ["compiled the student"] * compiles
    torch.compiler.reset()
    with pytest.raises(StoppedError):
        run(shards, tmp_path / "stopped", Brightness(), epochs=4, stop_after=10, compiler=compiler)  # the third epoch
    assert len(losses(tmp_path / "stopped")) == 2
    saved = torch.load(tmp_path / "stopped/checkpoint.pt", weights_only=True)
    assert "head.weight" in saved["network"]

    torch.compiler.reset()
    resumed = run(shards, tmp_path / "stopped", Brightness(), epochs=4, compiler=compiler)

    assert losses(tmp_path / "stopped") == losses(tmp_path / "whole")
    for found, value in zip(resumed.state_dict().values(), expected.state_dict().values(), strict=True):
        assert torch.equal(found, value)
