"""What ``di-prune`` takes. Knows no torch, so that ``--help`` is quick."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..distill.recipe import REPAIR, Training
from ..shared.core.config import StageConfig, changes_to, setting
from ..shared.core.errors import ConfigError

RATIO = 0.3  # of the filters, where no budget is given
# What the budgets count, by the option that gives them.
UNITS = {"ratio": "filters", "macs": "multiply-adds", "latency": "milliseconds", "params": "parameters"}

_BUDGET, _SELECTION = "Budget (one of them)", "Selection"


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """What may be left of a network.

    Attributes:
        option: that gave it; a key of :data:`UNITS`.
        left: share of the cost that is left, above 0 and below 1.
        written: how a command takes it, for messages: the places of option and value.
    """

    option: str
    left: float
    written: str = "--{} {:g}"

    def __str__(self) -> str:
        return self.written.format(self.option, 1 - self.left if self.option == "ratio" else self.left)


def _left(unit: str, *, advanced: bool = False) -> Any:
    return setting(None, help=f"share of the {unit} that is left", above=0, below=1, group=_BUDGET, advanced=advanced)


@dataclass(frozen=True, slots=True, kw_only=True)
class PruneConfig(StageConfig):
    """The teacher without some channels and blocks; ``changes`` holds the settings of the repair that replace the
    defaults."""

    out: Path = setting(Path("runs/prune"), help="folder for the pruned network and its report")
    shards: Path = setting(Path("shards"), help="shard folder, made from the network to prune")
    ratio: float | None = setting(
        None,
        help="share of the filters to remove: outputs of convolutions, and of linear layers but the last",
        unset=f"{RATIO:g}, where no other budget is given",
        above=0,
        below=1,
        group=_BUDGET,
    )
    macs: float | None = _left("multiply-adds")
    latency: float | None = setting(
        None,
        help="share of a forward pass's time that is left, measured on this device",
        above=0,
        below=1,
        group=_BUDGET,
    )
    params: float | None = _left("parameters", advanced=True)
    eval: str | None = setting(
        None,
        help="real images to measure on: a folder, tar, CSV or .npz, torchvision:NAME:ROOT, FILE.py:NAME, or digits",
    )
    latency_batch: int = setting(
        1, help="images in a forward pass when latency is measured, also for --latency", min=1, advanced=True
    )
    latency_compile: bool = setting(
        False, help="measure latency with torch.compile, as the network will run, also for --latency", advanced=True
    )
    verify: bool = setting(
        True, help="check every byte of the shards first, those that were checked before excepted", advanced=True
    )
    teacher: str | None = setting(None, help="the teacher, if it has moved since the shards were made", advanced=True)
    weights: str | None = setting(None, help="the teacher's weights, if they have moved since", advanced=True)
    keep: tuple[str, ...] = setting(
        (),
        help="layers that stay as they are: names, or patterns such as layer4.*",
        group=_SELECTION,
        advanced=True,
    )
    only: tuple[str, ...] = setting(
        (), help="the only layers that may lose outputs, or go", group=_SELECTION, advanced=True
    )
    round_to: int | None = setting(
        None,
        help="narrowed layers have a multiple of this many channels; auto: 8 on a GPU or for --latency, less where the"
        " budget cannot be reached with that, else 1",
        unset="auto",
        min=1,
        max=128,
        group=_SELECTION,
        advanced=True,
    )
    iterations: int = setting(
        1, help="times to value all parts and remove some of them", min=1, group=_SELECTION, advanced=True
    )
    score_images: int = setting(
        1024, help="most images that each scoring takes", min=1, group=_SELECTION, advanced=True
    )
    repair: str = setting(
        "training",
        help="least squares alone (ls), which takes a minute, or training after that",
        choices=("training", "ls"),
        group=_SELECTION,
    )
    changes: Mapping[str, Any] = changes_to(Training, preset=REPAIR, group="Repair by distillation")

    @property
    def budget(self) -> Budget:
        shares = {name: share for name in UNITS if (share := getattr(self, name)) is not None}
        (option, share), *more = (shares or {"ratio": RATIO}).items()
        if more:
            raise ConfigError(f"--{option} and --{more[0][0]} are two budgets: give one")
        return Budget(option=option, left=1 - share if option == "ratio" else share)

    @property
    def training(self) -> Training:
        changed = REPAIR.changed(self.changes)
        return changed.changed({"epochs": 0}) if self.repair == "ls" else changed

    def check(self) -> None:
        _ = self.training, self.budget  # raises ConfigError for what makes no sense
