"""Hostile files beside a command's own: names of classes, and modules in the working folder."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from . import base as b
from .base import Base, Case, put_bytes
from .json_mutations import TEXTS

SIBLINGS = (
    "torch",
    "numpy",
    "random",
    "multiprocessing",
    "safetensors",
    "yaml",
    "sitecustomize",
    "usercustomize",
    "site",
)


def cases(base: Base) -> Iterator[Case]:
    yield from _class_names(base)
    yield from _surroundings(base)


def _class_names(base: Base) -> Iterator[Case]:
    run = (*b.INVERT[:-1], "made", "--class-names", "names.txt")
    good = [f"class {number}" for number in range(10)]
    for name, put in b.strange_files():

        def make(folder: Path, put: b.Put = put) -> None:
            put_bytes(folder / "names.txt", "\n".join(good).encode())
            put(folder / "names.txt")

        yield Case(kind="class names", name=f"file: {name}", make=make, runs=(run,))
    for name, text in TEXTS.items():
        data = "\n".join([text, *good[1:]]).encode(errors="surrogatepass")
        yield Case(
            kind="class names",
            name=name,
            make=lambda folder, data=data: put_bytes(folder / "names.txt", data),
            runs=(run,),
        )


def _surroundings(base: Base) -> Iterator[Case]:
    """A working folder that holds modules with the names of those that Python or a library imports."""
    verify, workers = (*b.VERIFY, "--json"), (*b.INVERT[:-3], "2", "--out", "made")
    for module in SIBLINGS:

        def make(folder: Path, module: str = module) -> None:
            base.copy(folder, "shards")
            for place in (folder, folder / "shards"):
                (place / f"{module}.py").write_text(b.payload(folder / b.MARKER))
                (place / f"{module}.pth").write_text(f"import os; {b.payload(folder / b.MARKER)}")

        runs = (verify, b.DISTILL, *([workers] if module in ("multiprocessing", "torch", "random") else []))
        yield Case(kind="surroundings", name=module, make=make, runs=runs, new_process=True)
