"""What is wrong with the end of a run: every kind of fault that a stranger's data must not cause."""

from __future__ import annotations

import re
from collections.abc import Iterable

from forkserver import Outcome, Run

DOCUMENTED = {0, 1, 2, 3, 75, 130}  # exit codes, docs/concepts.md
FAULTS: tuple[str, ...] = ("executed", "tracebacks", "debug_sentences", "crashes", "hangs", "unclear", "escapes")
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def faults(outcome: Outcome, *, executed: bool = False) -> list[str]:
    """The faults of a run, by the names of :data:`FAULTS`.

    ``crashes``: it was ended by a signal, or took too much memory. ``unclear``: it has an exit code that is not
    documented, or failed without one sentence at the end of stderr. ``escapes``: it wrote control characters.
    """
    lines = [line for line in outcome.stderr.splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("error: ")]
    failed = outcome.code not in (0, 75, 130) and outcome.code in DOCUMENTED
    found = {
        "executed": executed,
        "tracebacks": "Traceback (most recent call last)" in outcome.stderr + outcome.stdout,
        "debug_sentences": any("run again with --debug" in line for line in errors[-1:]),
        "crashes": outcome.swelled or (outcome.code < 0 and not outcome.hung),
        "hangs": outcome.hung,
        "unclear": outcome.code >= 0
        and (outcome.code not in DOCUMENTED or (failed and (len(errors) != 1 or errors[0] != lines[-1]))),
        "escapes": bool(_CONTROL.search(outcome.stdout + outcome.stderr)),
    }
    return [name for name in FAULTS if found[name]]


def command_line(run: Run) -> str:
    """The command and its arguments in one line; long ones are cut off."""
    words = (word if len(word) < 60 else f"{word[:50]}..." for word in (run.command, *run.arguments))
    return ascii(" ".join(words))[1:-1]


def describe(outcome: Outcome) -> str:
    """The end of a run in one line: exit code, time, memory, and the last line of stderr."""
    lines = outcome.stderr.strip().splitlines() or [""]
    cost = f"{outcome.seconds:.1f} s, {outcome.bytes >> 20} MB"
    return f"exit code {outcome.code}, {cost}: {ascii(lines[-1])[:300]}"


def tally(found: Iterable[list[str]]) -> dict[str, int]:
    """How many runs have each fault."""
    counts: dict[str, int] = dict.fromkeys(FAULTS, 0)
    for names in found:
        for name in names:
            counts[name] += 1
    return counts
