"""dreamdistill: a smaller classifier from the trained one alone, without its training data.

    import dreamdistill as dd

    teacher = dd.load("resnet50")
    shards = dd.invert(teacher, out="shards", images=1024)
    student = dd.distill(shards, student="resnet18", out="runs/student")
    small = dd.prune(shards, ratio=0.3, out="runs/small")
    wider = dd.extend(shards, new="path/to/new_classes", out="runs/wider")
    print(small.evaluate("path/to/val").top1)

Each function does what the command of its name does: the same options by the same names, the same checks, the same
files. Errors are :class:`DreamError` and its subclasses, with the commands' sentences.

The folders of this package are links to the rooms at the top of the repository, so that ``dreamdistill.invert`` is a
path that editors, type checkers and Python all find.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from .functions import distill, extend, invert, prune
from .loading import load
from .shared.core.errors import ConfigError, DreamError, PartialError, StoppedError, nearest

if TYPE_CHECKING:
    from .objects import Classifier, Evaluation, ShardFolder

# Python puts a package's name into its parent when it is first imported. Done now, so that a later import of
# dreamdistill.invert does not replace the function of that name.
for _function in (distill, invert, prune):
    importlib.import_module(f".{_function.__name__}", __name__)
    globals()[_function.__name__] = _function

__version__ = "0.1.0"  # setup.cfg reads it here, so that a checkout that is not installed runs too

__all__ = [
    "Classifier",
    "ConfigError",
    "DreamError",
    "Evaluation",
    "PartialError",
    "ShardFolder",
    "StoppedError",
    "__version__",
    "distill",
    "extend",
    "invert",
    "load",
    "prune",
]


def __getattr__(name: str) -> Any:
    """The classes, which import torch: only where they are used, so that ``--help`` stays quick."""
    if name in ("Classifier", "Evaluation", "ShardFolder"):
        return getattr(importlib.import_module(".objects", __name__), name)
    raise AttributeError(f"module 'dreamdistill' has no attribute {name!r}{nearest(name, __all__)}")


def __dir__() -> list[str]:
    return sorted(__all__)
