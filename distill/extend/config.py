"""What ``di-extend`` takes. Knows no torch, so that ``--help`` is quick."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...shared.core.config import StageConfig, changes_to, setting
from ..recipe import EXTEND, Training

CRITERIA = ("auto", "abd", "deepinversion", "ce", "lwf-mc")


@dataclass(frozen=True, slots=True, kw_only=True)
class ExtendConfig(StageConfig):
    """More classes for the shards' teacher; ``changes`` holds what differs from the settings ``EXTEND``."""

    out: Path = setting(Path("runs/extend"), help="folder for the network and its report")
    shards: Path = setting(Path("shards"), help="shard folder of the teacher: images of its old classes")
    new: str = setting(help="real images of the new classes alone, in any form that --eval takes")
    eval: str | None = setting(
        None, help="real images of all classes to measure on, the old ones first, then the new ones"
    )
    share: float = setting(
        0.5, help="share of each batch that is new images; 1 uses no synthetic image, as a baseline", above=0, max=1
    )
    criterion: str = setting(
        "auto",
        help="loss; auto: abd, or deepinversion where the network does not end in one linear layer; ce is cross-entropy"
        " over all classes; lwf-mc, as published, takes --share 1",
        choices=CRITERIA,
        advanced=True,
    )
    verify: bool = setting(
        True, help="check every byte of the shards first, those that were checked before excepted", advanced=True
    )
    teacher: str | None = setting(None, help="the teacher, if it has moved since the shards were made", advanced=True)
    weights: str | None = setting(None, help="the teacher's weights, if they have moved since", advanced=True)
    changes: Mapping[str, Any] = changes_to(Training, preset=EXTEND)

    @property
    def training(self) -> Training:
        return EXTEND.changed(self.changes)
