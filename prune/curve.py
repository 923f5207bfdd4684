"""How good the network is over what is left of it, by least squares alone: users choose a budget by looking."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ..distill.distributed import share_processors
from ..distill.measuring import Agreement
from ..shared.cli.checking import check_shards
from ..shared.cli.evaluation import measure_teacher
from ..shared.cli.progress import ProgressBar
from ..shared.core.device import make_deterministic
from ..shared.core.errors import ConfigError
from ..shared.core.files import write_text
from ..shared.core.launch import Place
from ..shared.data.accuracy import top1
from ..shared.data.labelled import open_labelled
from ..shared.report.charts import LineChart
from ..shared.structure.cut import CutNetwork
from ..shared.structure.targets import Targets
from .choosing import Parts, choose_part
from .config import UNITS, PruneConfig
from .job import PruneJob
from .planning import PruningPlan

SHARES = (0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2)  # of the budget's unit, that are left
PICTURE = "curve.svg"


def curve(config: PruneConfig) -> dict[str, Any]:
    """Prune to several budgets, repair by least squares, and measure; write the picture into the output folder.

    Top-1 is measured where there is ``eval``, else the agreement with the teacher on images of the shards.

    Returns:
        ``left`` and ``accuracy``, lists of the same length, from the largest network to the smallest one that can be
        reached; ``before`` is the whole network's.

    Raises:
        ConfigError: the shards, the teacher or the evaluation set cannot be used, or the architecture cannot be pruned.
    """
    make_deterministic()
    with share_processors(Place()):
        return _curve(PruneJob.of(config))


def _curve(job: PruneJob) -> dict[str, Any]:
    config, teacher = job.config, job.teacher
    images = open_labelled(config.eval, teacher.num_classes, teacher.class_names) if config.eval else None
    plans = _plans(job)
    agreement = Agreement(job.shards)
    before = measure_teacher(teacher, images) if images else agreement.share(teacher.network)
    check_shards(job.shards, verify=config.verify)
    network, batches, left, accuracy = CutNetwork.of(teacher.network), job.batches(), [], []
    plan = plans[-1]  # of the smallest network: its groups may lose most
    targets = Targets.of(teacher.network, plan.blocks, (x_NCHW for x_NCHW, _ in batches()), job.example_NCHW)
    groups = plan.groups(teacher.network, job.example_NCHW)
    parts = Parts.of(network, groups, plan, targets, batches())
    with ProgressBar("curve", total=len(plans), unit="budgets") as bar:
        for number, plan in enumerate(plans, 1):
            share = plan.budget.left
            choice = choose_part(network, teacher.network, plan, parts, share, example_NCHW=job.example_NCHW)
            cut = network.without(groups, choice.removed, choice.dropped, example_NCHW=job.example_NCHW)
            cut.fit(targets.whole)
            left.append(share)
            accuracy.append(
                top1(cut.network, images, teacher.preprocessing) if images else agreement.share(cut.network)
            )
            bar.update(number)
    measured = "top-1" if images else "agreement"
    unit = UNITS[config.budget.option]
    chart = LineChart(
        title=f"{teacher.title}, repaired by least squares alone",
        x_title=f"{unit} that are left",
        y_title=f"{measured} on {config.eval}" if images else "agreement with the teacher on its images",
        series={measured: sorted([(1.0, before), *zip(left, accuracy, strict=True)])},
        lines={"teacher": before},
    )
    config.out.mkdir(parents=True, exist_ok=True)
    write_text(config.out / PICTURE, chart.svg())
    return {
        "budget": unit,
        "measured": measured,
        "before": before,
        "left": left,
        "accuracy": accuracy,
        "picture": str(config.out / PICTURE),
    }


def _plans(job: PruneJob) -> list[PruningPlan]:
    """A plan for each of :data:`SHARES` that can be reached; one at least."""
    plans: list[PruningPlan] = []
    for share in SHARES:
        try:
            plans.append(job.plan(replace(job.config.budget, left=share)))
        except ConfigError:
            if not plans:
                raise
            break
    return plans
