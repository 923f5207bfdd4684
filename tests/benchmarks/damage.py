"""Damage test: flips every bit of every file of a small shard folder, and cuts each file at every length.

    python tests/benchmarks/damage.py --json

Each time ``verify`` must find it, in a sentence that names the file. docs/reliability.md quotes its figures.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from dreamdistill.invert import stage
from dreamdistill.invert.config import InvertConfig
from dreamdistill.shared.core.errors import DreamError
from dreamdistill.shared.shards.quality import score_folder
from dreamdistill.shared.shards.verification import verify


def make_folder(path: Path) -> None:
    """A shard of two images of the shipped digits teacher, and its score."""
    changes = {"steps": (1,), "jitter": 1}
    recipe = "cifar10-deepinversion"
    config = InvertConfig(
        teacher="digits_cnn",
        out=path,
        images=2,
        shard_size=2,
        workers=1,
        recipe=recipe,
        changes=changes,
    )
    stage.run(config)
    score_folder(path, device="cpu")


def flips(data: bytes) -> Iterator[bytes]:
    for position in range(len(data)):
        for bit in range(8):
            yield data[:position] + bytes([data[position] ^ 1 << bit]) + data[position + 1 :]


def cuts(data: bytes) -> Iterator[bytes]:
    for length in range(len(data)):
        yield data[:length]


def is_found(folder: Path, path: Path) -> bool:
    """Whether the damage of a file is found, in sentences of which one names it."""
    try:
        problems = verify(folder)
    except DreamError as error:
        problems = [str(error)]
    return any(str(path) in problem for problem in problems)


def damage(folder: Path, *, every: int = 1) -> dict[str, Any]:
    """Damage a folder in all ways, or in each ``every``-th of them; each file is then put back.

    Returns:
        flips, found, cuts and cuts_found; and what was missed.
    """
    assert verify(folder) == []
    counts = {"flips": 0, "found": 0, "cuts": 0, "cuts_found": 0}
    missed: list[str] = []
    turn = 0
    for path in sorted(path for path in folder.iterdir() if path.stat().st_size):
        whole = path.read_bytes()
        for kind, found, ways in (("flips", "found", flips(whole)), ("cuts", "cuts_found", cuts(whole))):
            for number, data in enumerate(ways):
                turn += 1
                if turn % every:
                    continue
                path.write_bytes(data)
                counts[kind] += 1
                if is_found(folder, path):
                    counts[found] += 1
                else:
                    missed.append(f"{path.name}: {kind} {number}")
        path.write_bytes(whole)
    assert verify(folder) == []
    return {**counts, "missed": missed}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--every", type=int, default=1, help="try each N-th way alone")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "shards"
        make_folder(folder)
        found = damage(folder, every=arguments.every)
    print(json.dumps(found) if arguments.json else "\n".join(f"{key}: {value}" for key, value in found.items()))


if __name__ == "__main__":
    main()
