"""A step of training: compiled it learns what it learns eager, and a failing compiler costs only speed."""

from __future__ import annotations

import time
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch._dynamo.utils import counters

from dreamdistill.distill.criterion import Distillation
from dreamdistill.distill.recipe import Training
from dreamdistill.distill.step import Step, choose_compiler, set_up
from dreamdistill.shared.core.launch import Rows
from dreamdistill.shared.models.classifier import load_model
from dreamdistill.shared.models.students import new_network
from dreamdistill.shared.shards.batches import Batch

COUNTS = 12, 12, 5, 12, 12, 5  # images of each step: the last batch of an epoch is smaller


@pytest.fixture(autouse=True)
def no_compiled_code_left() -> None:
    torch.compiler.reset()


class Untraceable(nn.Module):
    """Reads its data in Python, which no compiler can trace."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        return self.network(x if x.sum().item() > -1e9 else -x)


class WithDropout(nn.Module):
    """Draws random numbers in each step of training."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.dropout(self.network(x), 0.2, self.training)


def learned(compile: str, *, labels: str = "teacher", kind: type[nn.Module] = WithDropout) -> tuple[list[float], dict]:
    """The losses of a few steps of a digits student, and what it has become."""
    teacher = load_model("digits_cnn")
    training = Training(compile=compile, labels=labels, lr=0.02)
    _, plain = new_network("digits_cnn_small", num_classes=10, preprocessing=teacher.preprocessing, seed=0)
    student = kind(plain)
    networks: dict[str, Any] = {"student": student, "teacher": teacher.network}
    networks["example_NCHW"] = teacher.preprocessing.blank(1)
    compiler = choose_compiler(training, **networks, images=0, title="test")
    criterion = Distillation.of(training, **networks, compiler=compiler)
    torch.manual_seed(0)
    network, optimizers = set_up(student, criterion, training, networks["example_NCHW"])
    step = Step.of(
        network.train(),
        criterion,
        optimizers=optimizers,
        views=criterion.views(training, teacher.preprocessing),
        example_NCHW=networks["example_NCHW"],
        compiler=compiler,
    )
    losses: list[float] = []
    for count in COUNTS:
        pixels = torch.randint(0, 256, (count, 1, 8, 8), dtype=torch.uint8)
        batch = Batch(pixels, torch.randn(count, 10), torch.arange(count) % 10, Rows(count))
        losses.append(step(batch)["loss"].item())
    criterion.release(network)
    assert not any(module._forward_hooks for module in student.modules())
    return losses, network.state_dict()


def test_a_compiled_step_learns_what_an_eager_one_does(capfd: pytest.CaptureFixture[str]) -> None:
    losses, state = learned("off")
    assert capfd.readouterr().err == ""
    counters.clear()
    compiled_losses, compiled_state = learned("on")
    assert counters["stats"]["unique_graphs"] == 2
    lines = [line for line in capfd.readouterr().err.splitlines() if line.startswith("test: ")]
    assert [line.rpartition(" in ")[0] for line in lines] == [
        "test: compiled the teacher for (12, 1, 8, 8)",
        "test: compiled the student for (12, 1, 8, 8)",
    ]
    assert compiled_losses == pytest.approx(losses, rel=1e-5)
    for key, value in state.items():
        torch.testing.assert_close(compiled_state[key], value, rtol=1e-3, atol=1e-4, msg=key)


@pytest.mark.parametrize("labels", ["teacher", "stored"])
def test_a_student_that_does_not_compile_learns_eager(labels: str, capfd: pytest.CaptureFixture[str]) -> None:
    expected = learned("off", labels=labels, kind=Untraceable)[0]
    found = learned("on", labels=labels, kind=Untraceable)[0]
    failures = [line for line in capfd.readouterr().err.splitlines() if "failed" in line]
    assert len(failures) == 1
    assert failures[0].startswith("test: torch.compile failed (")
    assert failures[0].endswith("going on without it, which is slower")
    assert found == pytest.approx(expected, rel=1e-5)


def test_auto_compiles_trainings_that_are_long_enough_and_reads_no_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    def read_clock() -> float:
        raise AssertionError("the choice reads a clock")

    for name in ("monotonic", "perf_counter", "time"):
        monkeypatch.setattr(time, name, read_clock)
    teacher = load_model("cifar_resnet20", weights="none")
    networks: dict[str, Any] = {"student": teacher.network, "example_NCHW": teacher.preprocessing.blank(1)}

    def compiles(images: int, compile: str = "auto", teacher: nn.Module | None = teacher.network) -> bool:
        training = Training(compile=compile)
        found = choose_compiler(training, **networks, teacher=teacher, images=images, title="test")
        return found is not None

    assert not compiles(240 * 32)
    assert compiles(2000 * 32)
    assert not compiles(40_000, teacher=None)
    assert compiles(0, "on")
    assert not compiles(2000 * 32, "off")
