"""How a step is run: all forms compute the same, a shape is one graph, and a failing compiler costs only speed."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable

import pytest
import torch
from folded import folded_objective
from published import published_loss, published_network
from random_networks import with_random_statistics
from torch import Tensor, nn
from torch._dynamo.utils import counters
from torchvision.models import DenseNet, EfficientNet, MobileNetV2
from torchvision.models.efficientnet import MBConvConfig

from dreamdistill.invert.engine import Engine
from dreamdistill.invert.execution import choose_execution
from dreamdistill.invert.objective import Objective
from dreamdistill.invert.recipe import RECIPES, Recipe
from dreamdistill.shared.models.classifier import Classifier, load_model
from dreamdistill.shared.shards.manifest import Execution

CPU = torch.device("cpu")
COMPILED = Execution(compile=True, precision="float32")
ALL_TERMS = Recipe(steps=(3,), alpha_tv=0.02, alpha_l2=0.03, alpha_feature=0.5, first_bn=10.0, jitter=1)
# Tracing takes seconds a block, and a family's second stage shows nothing that its first does not.
SHORT: dict[str, Callable[[], nn.Module]] = {
    "mobilenet_v2": lambda: MobileNetV2(10, inverted_residual_setting=[[1, 16, 1, 1], [6, 24, 2, 2]]),
    "densenet": lambda: DenseNet(8, block_config=(2, 1, 1, 1), num_init_features=16, num_classes=10),
    "efficientnet": lambda: EfficientNet(
        [MBConvConfig(1, 3, 1, 16, 16, 1, 1, 1), MBConvConfig(6, 5, 2, 16, 24, 2, 1, 1)], 0.2, num_classes=10
    ),
}
NETWORKS = ["cifar_resnet20", "cifar_vgg11_bn", "timm/test_efficientnet", *SHORT]

Terms = tuple[dict[str, float], Tensor]


@pytest.fixture(autouse=True)
def no_compiled_code_left() -> None:
    torch.compiler.reset()


def random_teacher(name: str) -> nn.Module:
    """Random weights, and BatchNorm statistics that differ between channels, as after training."""
    pytest.importorskip("timm")
    if name in SHORT:
        network = SHORT[name]().eval().requires_grad_(False)
    else:
        network = load_model(name, weights="none", num_classes=10).network
    return with_random_statistics(network.to(memory_format=torch.channels_last), seed=1)


def images(size: int) -> Tensor:
    x = torch.randn(8, 3, size, size, generator=torch.Generator().manual_seed(2))
    return x.contiguous(memory_format=torch.channels_last).requires_grad_()


def evaluated(result: tuple[Tensor, dict[str, Tensor]], x: Tensor) -> Terms:
    loss, terms = result
    (gradient,) = torch.autograd.grad(loss, x)
    return {name: term.item() for name, term in terms.items()}, gradient


def assert_alike(found: Terms, expected: Terms, tolerance: float) -> None:
    assert found[0] == pytest.approx(expected[0], rel=tolerance)
    assert (found[1] - expected[1]).norm() <= tolerance * expected[1].norm()


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.filterwarnings("ignore:The .grad attribute")  # the tracer reads it
def test_every_form_computes_the_same(name: str, precision: str) -> None:
    """This tests the compiler's front end: one graph, and its gradient. The next test runs the compiler's kernels."""
    network = random_teacher(name)
    x = images(32 if name.startswith("cifar") else 64)
    given = x, x.roll((1, -2), (2, 3)), torch.arange(8) % 10
    objective = Objective(ALL_TERMS, network, precision=precision)
    ours = evaluated(objective(*given), x)
    contiguous, distances = published_network(network)
    with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bfloat16"):
        published = published_loss(ALL_TERMS, contiguous, distances, *given)
    folded, _ = folded_objective(ALL_TERMS, network, precision)
    tolerance = {"float32": 1e-4, "bfloat16": 2e-2}[precision]
    assert_alike(ours, evaluated(published, x), tolerance)
    if precision == "float32":  # tracing takes long; the folded network rounds other weights to bfloat16
        traced = torch.compile(objective.__call__, fullgraph=True, dynamic=False, backend="aot_eager")
        assert_alike(evaluated(traced(*given), x), ours, tolerance)
        assert_alike(evaluated(folded(*given), x), ours, 3e-4)


def test_compiled_kernels_make_the_same_images_with_one_graph() -> None:
    torch.manual_seed(0)
    layers = nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(144, 10)
    teacher = Classifier(nn.Sequential(*layers), mean=(0.5,), std=(0.5,), image_size=8)  # each kernel takes seconds
    recipe = ALL_TERMS.changed({"lr": 0.1, "flip": True})
    targets = torch.arange(16) % 10
    lines: list[str] = []
    counters.clear()
    engine = Engine(teacher, recipe, execution=COMPILED, log=lines.append)
    first = engine.synthesize(targets, seed=1)
    again = engine.synthesize(targets, seed=1)
    engine.synthesize(targets, seed=2)
    assert counters["stats"]["unique_graphs"] == 1
    assert len(lines) == 1
    assert "compiled the step for (16, 1, 8, 8) in" in lines[0]
    assert torch.equal(first.x, again.x)
    eager = Engine(teacher, recipe).synthesize(targets, seed=1)
    assert first.losses == pytest.approx(eager.losses, rel=1e-4)
    # The length of Adam's first steps is lr, whatever the gradient is. Where it is about 0, its sign is random.
    assert (first.x - eager.x).abs().mean() < 1e-3


class Untraceable(nn.Module):
    """Reads its data in Python, which no compiler can trace."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        return self.network(x if x.sum().item() > -1e9 else -x)


def test_a_network_that_does_not_compile_runs_eager_with_one_warning() -> None:
    teacher = load_model("digits_cnn")
    untraceable = copy.copy(teacher)
    untraceable.network = Untraceable(teacher.network)
    targets = torch.arange(4)
    lines: list[str] = []
    engine = Engine(untraceable, ALL_TERMS, execution=COMPILED, log=lines.append)
    made = [engine.synthesize(targets, seed=1).x for _ in range(2)]
    assert len(lines) == 1
    assert lines[0].startswith("torch.compile failed (")
    assert lines[0].endswith("going on without it, which is slower")
    assert torch.equal(made[0], Engine(teacher, ALL_TERMS).synthesize(targets, seed=1).x)


def choice(images: int, *, compile: str = "auto", precision: str = "float32") -> Execution:
    return choose_execution(
        compile=compile,
        precision=precision,
        teacher=load_model("cifar_resnet20", weights="none"),
        recipe=RECIPES["cifar10-deepinversion"],
        images=images,
        device=CPU,
    )


def test_auto_compiles_runs_that_are_long_enough() -> None:
    assert not choice(16).compile
    assert choice(50_000).compile
    assert choice(16, compile="on").compile
    assert not choice(50_000, compile="off").compile
    assert not choice(0).compile


@pytest.mark.parametrize(("amx", "expected"), [(True, "bfloat16"), (False, "float32")])
def test_bfloat16_is_chosen_by_the_processor_in_long_runs(
    amx: bool, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: amx)
    assert choice(50_000, precision="auto").precision == expected
    assert choice(16, precision="auto").precision == "float32"
    assert choice(16, precision="bfloat16").precision == "bfloat16"


def test_no_clock_decides_how_a_step_is_run(monkeypatch: pytest.MonkeyPatch) -> None:
    def read_clock() -> float:
        raise AssertionError("the choice reads a clock")

    for name in ("monotonic", "perf_counter", "time"):
        monkeypatch.setattr(time, name, read_clock)
    choice(50_000, precision="auto")
