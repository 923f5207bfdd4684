"""Pruning in bites: value all parts of a network, remove some, repair the rest by least squares, and again."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from ..shared.core.errors import ConfigError
from ..shared.structure.cut import CutNetwork
from ..shared.structure.targets import Targets
from .choosing import Parts, choose_part
from .planning import PruningPlan
from .selection import Choice


@dataclass(frozen=True, slots=True, kw_only=True)
class Bite:
    """One iteration of the pruning.

    Attributes:
        cut: before its repair.
        fitted: after its repair by least squares.
    """

    cut: CutNetwork
    fitted: CutNetwork


def prune_network(
    network: nn.Module,
    plan: PruningPlan,
    *,
    iterations: int,
    batches: Callable[[], Iterable[tuple[Tensor, Tensor]]],
    example_NCHW: Tensor,
    known: Sequence[Choice] = (),
    keep: Callable[[Sequence[Choice]], None] = lambda choices: None,
    report_progress: Callable[[int], None] = lambda iteration: None,
) -> Bite:
    """Remove what a plan says from a copy of the network that it was made for. There is no training in between.

    Args:
        network: in eval mode. It is left as it is.
        iterations: bites, each of which leaves the same share of the cost before it.
        batches: gives the minibatches to value on, (N, C, H, W) and targets (N,), again at each call.
        example_NCHW: one image; only its shape matters.
        known: what an earlier call with the same arguments chose.
        keep: called after each choice with all of them.
        report_progress: called after each iteration, with the number of iterations so far.

    Returns:
        The last one.

    Raises:
        ConfigError: the architecture cannot be pruned, or a known choice is of another one.
    """
    targets = Targets.of(network, plan.blocks, (x_NCHW for x_NCHW, _ in batches()), example_NCHW)
    now, cut = CutNetwork.of(network), CutNetwork.of(network)
    choices = list(known[:iterations])
    for iteration in range(1, iterations + 1):
        groups = plan.groups(now.network, example_NCHW)
        if len(choices) < iteration:
            parts = Parts.of(now, groups, plan, targets, batches())
            share = plan.budget.left ** (iteration / iterations)
            choices.append(choose_part(now, network, plan, parts, share, example_NCHW=example_NCHW))
            keep(choices)
        choice = choices[iteration - 1]
        if not choice.fits(groups, plan.blocks):
            raise ConfigError("the choices in the output folder are of another network: run again with --overwrite")
        cut = now.without(groups, choice.removed, choice.dropped, example_NCHW=example_NCHW)
        now = cut.copy()
        now.fit(targets.whole)
        report_progress(iteration)
    return Bite(cut=cut, fitted=now)
