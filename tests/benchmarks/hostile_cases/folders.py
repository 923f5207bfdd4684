"""Hostile records of a shard folder: manifest, commit records, failures, ``_info.json``, ``score.json`` and names."""

from __future__ import annotations

import os
from collections.abc import Iterator
from itertools import cycle
from pathlib import Path

from . import base as b
from .base import Base, Case
from .json_mutations import TEXTS, Text, as_text, changed, mutations

READERS = (b.VERIFY, b.DRY, b.SHOW_JSON, b.GALLERY, b.DISTILL, b.PRUNE, b.SCORE, b.INVERT)


def cases(base: Base) -> Iterator[Case]:
    yield from _json_file(base, "manifest", "manifest.json", deep=3, first=b.SHOW, then=READERS)
    yield from _json_file(base, "record", "000000.json", deep=9, first=b.SHOW, then=READERS)
    yield from _json_file(base, "info", "_info.json", deep=1, first=b.VERIFY, then=(b.SHOW, b.INVERT))
    yield from _failures(base)
    yield from _scores(base)
    yield from _rounds(base)
    yield from _teacher_names(base)
    yield from _folder_names(base)


def _json_file(
    base: Base,
    kind: str,
    name: str,
    *,
    deep: int,
    first: tuple[str, ...],
    then: tuple[tuple[str, ...], ...],
) -> Iterator[Case]:
    """Mutations of one file and strange files in its place, for one command always and for the others in turn."""
    turn = cycle(then)
    for what, text in mutations(base.json(f"shards/{name}"), deep=deep):

        def make(folder: Path, text: Text = text) -> None:
            b.put_text(base.copy(folder, "shards") / name, text)

        yield Case(kind=kind, name=what, make=make, runs=(first, next(turn)))
    for what, put in b.strange_files():

        def make_strange(folder: Path, put: b.Put = put) -> None:
            put(base.copy(folder, "shards") / name)

        yield Case(kind=kind, name=f"file: {what}", make=make_strange, runs=(first, *(next(turn) for _ in range(3))))


def _failures(base: Base) -> Iterator[Case]:
    """``000000.failed`` of a shard that is not there, as the base has none: written by us, in the present form."""
    record = {"schema": 1, "reason": "no reason", "worker": "host:1"}
    runs = cycle([(b.SHOW, b.VERIFY), (b.SHOW, b.INVERT), (b.SHOW_JSON, b.WATCH)])

    def put(folder: Path) -> Path:
        shards = base.copy(folder, "shards")
        for suffix in ("json", "tar", "idx"):
            (shards / f"000000.{suffix}").unlink()
        return shards / "000000.failed"

    for what, text in mutations(record):

        def make(folder: Path, text: Text = text) -> None:
            path = put(folder)
            path.write_bytes(b.sealed(text(), (base.root / "shards/000000.json").read_bytes()))

        yield Case(kind="failed", name=what, make=make, runs=next(runs))
    for what, strange in b.strange_files():

        def make_strange(folder: Path, strange: b.Put = strange) -> None:
            path = put(folder)
            path.write_text("{}")
            strange(path)

        yield Case(kind="failed", name=f"file: {what}", make=make_strange, runs=next(runs))


def _scores(base: Base) -> Iterator[Case]:
    turn = cycle((b.SCORE, b.SHOW, b.VERIFY))
    for what, text in mutations(base.json("scored/score.json"), deep=2):

        def make(folder: Path, text: Text = text) -> None:
            base.copy(folder, "scored", to="shards")
            b.put_text(folder / "shards/score.json", text)

        yield Case(kind="score", name=what, make=make, runs=(b.GALLERY, next(turn)))
    for what, put in b.strange_files():

        def make_strange(folder: Path, put: b.Put = put) -> None:
            base.copy(folder, "scored", to="shards")
            put(folder / "shards/score.json")

        yield Case(kind="score", name=f"file: {what}", make=make_strange, runs=(b.GALLERY, next(turn)))


def _rounds(base: Base) -> Iterator[Case]:
    """Rounds that do not go together."""
    manifest = base.json("shards/manifest.json")
    (only,) = manifest["rounds"]
    again = {**only, "first_shard": 3, "first_image": 24}
    rounds = {
        "none": [],
        "twice the same": [only, only],
        "overlap": [only, {**again, "first_shard": 1}],
        "overlap of images": [only, {**again, "first_image": 1}],
        "gap": [only, {**again, "first_shard": 10**6}],
        "backwards": [again, only],
        "10,000 rounds": [{**only, "first_shard": 3 * n, "first_image": 24 * n} for n in range(10_000)],
        "10^12 images": [{**only, "images": 10**12}],
        "10^12 images in shards of 1": [{**only, "images": 10**12, "shard_size": 1}],
        "10^9 rounds' worth of shards": [only, {**again, "images": 10**18, "shard_size": 1}],
        "shard number of 12 digits": [{**only, "first_shard": 10**11}],
        "not begun": [{**only, "first_shard": 5}],
    }
    for name, value in rounds.items():

        def make(folder: Path, value: object = value) -> None:
            b.put_json(base.copy(folder, "shards") / "manifest.json", {**manifest, "rounds": value})

        runs = (b.SHOW, b.WATCH if "10^" in name else b.VERIFY, b.DISTILL, b.DALI, b.SCORE, b.INVERT, b.APPEND)
        yield Case(kind="rounds", name=name, make=make, runs=runs)


def names(folder: Path) -> dict[str, str]:
    """What a stranger may write where a network's name stands, given the folder in which a marker may appear."""
    return {
        "file in the folder": "shards/evil.py:make",
        "file beside it": "evil.py:make",
        "absolute file": f"{folder}/shards/evil.py:make",
        "file by ./": "./evil.py:make",
        "file by ..": f"../{folder.name}/evil.py:make",
        "file with a space": " evil.py:make",
        "module": "evil:make",
        "saved model that names a file": "stranger",
        "saved model of itself": "own",
        "timm, hub": "timm/hf-hub:stranger/net",
        "timm, hf_hub": "timm/hf_hub:stranger/net",
        "timm, local folder": f"timm/local-dir:{folder}/stranger",
        "hub": "hf-hub:stranger/net",
        "URL": "http://127.0.0.1:9/net.py:make",
        "pipe": f"pipe:touch {folder}/{b.MARKER}",
        "shell": f"$(touch {folder}/{b.MARKER}).py:make",
        "parent": "..",
        "this folder": ".",
        "root": "/",
        "shards folder": "shards",
        "device": "/dev/zero",
        "FIFO": "fifo",
        "format string": "{0.__class__} %s %n",
        **{f"text: {name}": text for name, text in TEXTS.items()},
    }


def put_strangers(base: Base, folder: Path) -> None:
    """Files that the names above may lead to; the code in them leaves the marker."""
    marker = folder / b.MARKER
    for path in (folder / "evil.py", folder / "shards/evil.py"):
        b.put_module(path, marker)
    for name, architecture in (("stranger", f"{folder}/evil.py:make"), ("own", f"{folder}/own")):
        base.copy(folder, "model", to=name)
        record = changed(base.json("model/model.json"), ("architecture",), architecture)
        b.put_json(folder / name / "model.json", record)
    os.mkfifo(folder / "fifo")


def _teacher_names(base: Base) -> Iterator[Case]:
    manifest = base.json("shards/manifest.json")
    for field, only in (("name", ""), ("weights", "text")):
        for what in names(Path("/x")):
            if only and not what.startswith(("text", "pipe", "device", "FIFO", "URL", "parent", "root", "shell")):
                continue

            def make(folder: Path, what: str = what, field: str = field) -> None:
                base.copy(folder, "shards")
                put_strangers(base, folder)
                named = changed(manifest, ("teacher", field), names(folder)[what])
                b.put_text(folder / "shards/manifest.json", as_text(named))

            yield Case(
                kind="names", name=f"{field}: {what}", make=make, runs=(b.SHOW, b.DRY, b.DISTILL, b.PRUNE, b.SCORE)
            )
    for path in ("evil.pth", "evil.pt", "evil.safetensors"):

        def make_weights(folder: Path, path: str = path) -> None:
            import torch

            base.copy(folder, "shards")
            torch.save({"w": b.Pickled(folder / b.MARKER)}, folder / path)
            named = changed(manifest, ("teacher", "weights"), str(folder / path))
            b.put_text(folder / "shards/manifest.json", as_text(named))

        yield Case(kind="names", name=f"weights: {path}", make=make_weights, runs=(b.DISTILL, b.SCORE, b.PRUNE))


def _folder_names(base: Base) -> Iterator[Case]:
    """Folders whose own name means something to a library."""
    folders = {
        "pipe": f"pipe:touch {b.MARKER};#",
        "file URL": "file:shards",
        "braces": "shards{000000..000002}",
        "two": "a::b",
        "question mark": "shards?x=1",
        "markup": "[red][/]",
        "escape": "\x1b[31m\nerror: x",
        "surrogate": "shards\udcff",
        "dash": "-shards",
        "long": "s" * 255,
        "percent": "%s%n{0}",
    }
    for what, name in folders.items():

        def make(folder: Path, name: str = name) -> None:
            base.copy(folder, "shards", to=name)

        commands = (b.SHOW, b.VERIFY, b.GALLERY, b.DISTILL, b.DALI, b.SCORE)
        if name.startswith("-"):
            commands = (b.DISTILL, b.DALI)
        runs = tuple(tuple(name if word == "shards" else word for word in command) for command in commands)
        yield Case(kind="folder names", name=what, make=make, runs=runs)
