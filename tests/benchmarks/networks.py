"""Which of 122 real networks go through the three stages: torchvision's and timm's, one or two of a family.

``python tests/benchmarks/networks.py --json`` prints ``{network: {invert, distill, prune, macs, seconds}}``: ``ok`` or
why not for each stage, the share of the multiply-adds that is left without 30 % of the filters, and seconds. Weights
are random, with BatchNorms that have seen noise. Each network runs in a process of its own with a time limit. What is
measured is kept in ``build/networks.json``, and not measured again.

Inverting makes four images in one step for each resolution, and distilling takes one step, of a student of the same
architecture. X
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import safetensors.torch
import torch
from torch import nn

from dreamdistill.distill import stage as distill_stage
from dreamdistill.distill.config import DistillConfig
from dreamdistill.invert import stage as invert_stage
from dreamdistill.invert.config import InvertConfig
from dreamdistill.prune.config import Budget
from dreamdistill.prune.planning import plan_pruning
from dreamdistill.prune.schedule import prune_network
from dreamdistill.shared.models.checkpoints import save_model
from dreamdistill.shared.models.classifier import load_model
from dreamdistill.shared.models.cost import count_macs, num_filters
from dreamdistill.shared.models.features import batchnorm_layers
from dreamdistill.shared.models.students import check_trainable

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "build/networks.json"
STAGES = ("invert", "prune", "distill")
RATIO = 0.3
CLASSES = 10
MEAN = STD = (0.5, 0.5, 0.5)

NETWORKS = (
    "alexnet convnext_base convnext_small convnext_tiny densenet121 densenet161 densenet169 densenet201 efficientnet_b0"
    " efficientnet_b1 efficientnet_b2 efficientnet_b3 efficientnet_b4 efficientnet_b5 efficientnet_b6 efficientnet_b7"
    " efficientnet_v2_l efficientnet_v2_m efficientnet_v2_s googlenet inception_v3 maxvit_t mnasnet0_5 mnasnet0_75"
    " mnasnet1_0 mnasnet1_3 mobilenet_v2 mobilenet_v3_large mobilenet_v3_small regnet_x_16gf regnet_x_1_6gf"
    " regnet_x_32gf regnet_x_3_2gf regnet_x_400mf regnet_x_800mf regnet_x_8gf regnet_y_16gf regnet_y_1_6gf"
    " regnet_y_32gf regnet_y_3_2gf regnet_y_400mf regnet_y_800mf regnet_y_8gf resnet101 resnet152 resnet18 resnet34"
    " resnet50 resnext101_32x8d resnext101_64x4d resnext50_32x4d shufflenet_v2_x0_5 shufflenet_v2_x1_0"
    " shufflenet_v2_x1_5 shufflenet_v2_x2_0 squeezenet1_0 squeezenet1_1 swin_t swin_v2_t vgg11 vgg11_bn vit_b_16"
    " vit_b_32 wide_resnet101_2 wide_resnet50_2 timm/convnext_atto timm/convnextv2_atto timm/cspresnet50 timm/darknet53"
    " timm/densenet121 timm/dla34 timm/dpn48b timm/ecaresnet26t timm/efficientformer_l1 timm/efficientformerv2_s0"
    " timm/efficientnet_b0 timm/efficientvit_b0 timm/efficientvit_m0 timm/ese_vovnet19b_dw timm/fastvit_t8"
    " timm/gernet_s timm/ghostnet_050 timm/ghostnetv2_100 timm/gmlp_ti16_224 timm/hgnet_tiny timm/hrnet_w18_small"
    " timm/inception_next_atto timm/inception_v3 timm/lcnet_035 timm/legacy_seresnet18 timm/levit_128s"
    " timm/mixer_s32_224 timm/mixnet_s timm/mnasnet_small timm/mobilenetv2_035 timm/mobilenetv3_small_050"
    " timm/mobilenetv4_conv_small_050 timm/mobileone_s0 timm/nfnet_l0 timm/pit_ti_224 timm/poolformer_s12"
    " timm/regnetx_002 timm/regnety_002 timm/repghostnet_050 timm/repvgg_a0 timm/repvit_m0_9 timm/res2net50_14w_8s"
    " timm/resnest14d timm/resnet10t timm/resnet18 timm/resnet26d timm/resnext50_32x4d timm/rexnet_100 timm/selecsls42"
    " timm/seresnet18 timm/skresnet18 timm/starnet_s1 timm/tf_efficientnetv2_b0 timm/tinynet_e timm/visformer_tiny"
    " timm/vit_tiny_patch16_224 timm/xception41"
).split()
# All others take images of 64 px.
SIDES = {"inception_v3": 96, "timm/inception_v3": 96} | dict.fromkeys(
    "maxvit_t swin_t swin_v2_t vit_b_16 vit_b_32 timm/efficientformer_l1 timm/efficientformerv2_s0 timm/efficientvit_m0"
    " timm/gmlp_ti16_224 timm/levit_128s timm/mixer_s32_224 timm/pit_ti_224 timm/visformer_tiny"
    " timm/vit_tiny_patch16_224".split(),
    224,
)


def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("--json", action="store_true", help="print the results as JSON, not as a table")
    parser.add_argument(
        "--only", default=",".join(NETWORKS), help="names, of the list or not, with commas between them"
    )
    parser.add_argument(
        "--side", type=int, help="of the images, in pixels, in place of what the list says; 64 elsewhere"
    )
    parser.add_argument("--stages", default=",".join(STAGES), help="of invert (which distill needs), prune, distill")
    parser.add_argument("--limit", type=float, default=120, help="seconds for each network")
    parser.add_argument("--results", type=Path, default=RESULTS, help="where results are kept")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    options = parser.parse_args()
    stages = options.stages.split(",")
    names = [options.one] if options.one else options.only.split(",")
    if options.side:
        SIDES.update(dict.fromkeys(names, options.side))
    if options.one:
        measure(options.one, stages)
        return
    results = json.loads(options.results.read_text()) if options.results.exists() else {}
    for name in names:
        wanted = [stage for stage in stages if stage not in results.get(name, {})]
        if wanted == ["distill"] or wanted == ["prune", "distill"]:
            wanted = ["invert", *wanted]  # which makes the images that distill takes
        if wanted:
            results[name] = results.get(name, {}) | run(name, wanted, options.limit)
            options.results.parent.mkdir(parents=True, exist_ok=True)
            options.results.write_text(json.dumps(results, indent=2) + "\n")
            print(name, results[name], file=sys.stderr, flush=True)
    chosen = {name: results[name] for name in names}
    print(json.dumps(chosen, indent=2) if options.json else table(chosen))


def side_of(name: str) -> int:
    """Of a network's images, in pixels."""
    return SIDES.get(name, 64)


def run(name: str, stages: list[str], limit: float) -> dict[str, object]:
    """Measure one network in a process of its own. A stage that it does not come to has the reason."""
    started = time.monotonic()
    command = [sys.executable, __file__, "--one", name, "--side", str(side_of(name)), "--stages", ",".join(stages)]
    with tempfile.TemporaryFile("w+") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.DEVNULL, text=True, cwd=ROOT)
        try:
            code = process.wait(limit)
            why = f"ended with {code}"
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            why = f"not within {limit:g} s"
        output.seek(0)
        found: dict[str, object] = {}
        for line in output:
            found |= json.loads(line)
    left = {stage: why for stage in stages if stage not in found}
    return found | left | {"seconds": round(time.monotonic() - started, 1)}


def table(results: dict[str, dict[str, object]]) -> str:
    """Markdown."""
    lines = ["| network | px | invert | distill | prune | multiply-adds left |", "|---|---|---|---|---|---|"]
    for name, found in results.items():
        cells = [found.get(key, "") for key in ("invert", "distill", "prune", "macs")]
        lines.append(f"| {name} | {side_of(name)} | " + " | ".join(map(str, cells)) + " |")
    return "\n".join(lines)


def measure(name: str, stages: list[str]) -> None:
    """Print one JSON object for each stage when it is done."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        weights = save_weights(name, Path(folder))
        steps: dict[str, Callable[[str, Path, Path], dict[str, object]]] = {
            "invert": invert,
            "prune": prune,
            "distill": distill,
        }
        for stage in stages:
            try:
                found = steps[stage](name, weights, Path(folder))
            except Exception as error:
                found = {stage: f"{type(error).__name__}: {error}"[:200]}
            print(json.dumps(found), flush=True)


def calibrated(name: str, side: int | None = None) -> nn.Module:
    """A network with random weights, and the statistics of noise in its BatchNorms.

    Args:
        side: of its images, in pixels; None takes what the benchmark takes.
    """
    side = side or side_of(name)
    network = load_model(name, weights="none", num_classes=CLASSES, image_size=side, mean=MEAN, std=STD).network
    for layer in batchnorm_layers(network):
        layer.momentum = None  # the mean over all batches, of which there is one
    torch.manual_seed(0)
    with torch.no_grad():
        network.train()(torch.randn(8, 3, side, side))
    return network.eval()


def save_weights(name: str, folder: Path) -> Path:
    state = {key: value.clone() for key, value in calibrated(name).state_dict().items()}
    safetensors.torch.save_file(state, folder / "weights.safetensors")
    return folder / "weights.safetensors"


def invert(name: str, weights: Path, folder: Path) -> dict[str, object]:
    invert_stage.run(
        InvertConfig(
            teacher=name,
            weights=str(weights),
            num_classes=CLASSES,
            image_size=side_of(name),
            mean=MEAN,
            std=STD,
            images=4,
            workers=1,
            compile="off",
            out=folder / "shards",
            changes={"steps": (1,), "batch_size": 4},
        )
    )
    return {"invert": "ok"}


def distill(name: str, weights: Path, folder: Path) -> dict[str, object]:
    changes = {"epochs": 1, "batch_size": 4, "loader": "webdataset"}
    distill_stage.run(DistillConfig(shards=folder / "shards", student=name, out=folder / "student", changes=changes))
    return {"distill": "ok"}


def prune(name: str, weights: Path, folder: Path) -> dict[str, object]:
    side = side_of(name)
    options = {"num_classes": CLASSES, "image_size": side, "mean": MEAN, "std": STD}
    teacher = load_model(name, weights=str(weights), **options)  # type: ignore[arg-type]
    example_NCHW = torch.randn(1, 3, side, side)
    check_trainable(teacher.network, teacher.preprocessing, title=name)
    plan = plan_pruning(teacher.network, Budget(option="ratio", left=1 - RATIO), example_NCHW=example_NCHW)
    network = prune_network(
        teacher.network,
        plan,
        iterations=1,
        batches=lambda: [(torch.randn(4, 3, side, side), torch.arange(4))],
        example_NCHW=example_NCHW,
    ).fitted.network
    save_model(
        folder / "pruned",
        network,
        architecture=teacher.architecture,
        num_classes=CLASSES,
        class_names=(),
        preprocessing=teacher.preprocessing,
    )
    loaded = load_model(str(folder / "pruned")).network  # compares what it computes
    check_trainable(loaded, teacher.preprocessing, title=name)
    left = num_filters(loaded) / num_filters(teacher.network)
    if not left <= 1 - RATIO:
        return {"prune": f"{left:.3f} of the filters are left"}
    macs = count_macs(loaded, example_NCHW) / count_macs(teacher.network, example_NCHW)
    return {"prune": "ok", "macs": round(macs, 3)}


if __name__ == "__main__":
    main()
