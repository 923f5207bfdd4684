"""What people see at the end of a stage: where the result lies, what was measured, and what to do next."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """The end of a stage, for people; ``--json`` prints the report itself.

    Attributes:
        rows: of the table, by title; those that are None are left out.
        next_steps: what may be done now, and the command that does it.
    """

    rows: Mapping[str, Any]
    next_steps: Mapping[str, str]


def steps_with_model(folder: Path, *, measured: bool) -> dict[str, str]:
    """What may be done with a saved model, and the command that does it.

    Args:
        measured: whether it was measured on real images.
    """
    return {
        **({} if measured else {"measure it on real images": "the same command with --eval FOLDER"}),
        "write it as ONNX": f"di-model export {folder}",
        "use it in Python": f"dreamdistill.load({str(folder)!r})",
        "make images of it": f"di-invert --teacher {folder}",
    }


def share_of(part: int | None, whole: int | None) -> str | None:
    """A size beside the teacher's: ``1,234 (0.25 of the teacher's 4,936)``."""
    if part is None:
        return None
    return f"{part:,}" if not whole else f"{part:,} ({part / whole:.3g} of the teacher's {whole:,})"
