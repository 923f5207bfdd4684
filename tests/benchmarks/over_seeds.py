"""A command over several seeds, and its reports in one file: the rows of a table, each with the command that made it.

    python tests/benchmarks/over_seeds.py --row half-2000 --seeds 3 --results docs/results/smaller.json -- \
        di-prune --macs 0.5 --shards images/{seed} --epochs 125 --eval test.tar --out runs/half-2000/{seed}
    python tests/benchmarks/over_seeds.py --results docs/results/smaller.json --table top1_ls,top1_after,macs_after

``{seed}`` stands for the number of the run, from 0 on, and ``--seed`` is added. What is done is not done again.
"""

from __future__ import annotations

import argparse
import json
import shlex
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import torch
from students import measured_on

BIN = Path(sys.executable).parent


def main() -> None:
    arguments = sys.argv[1:]
    own, command = (
        (arguments[: (i := arguments.index("--"))], arguments[i + 1 :]) if "--" in arguments else (arguments, [])
    )
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("--results", type=Path, required=True, help="JSON file of all rows")
    parser.add_argument("--row", help="name of the row")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--table", metavar="KEY,KEY,...", help="print these keys of the reports as a table, and stop")
    asked = parser.parse_args(own)
    rows: dict[str, Any] = json.loads(asked.results.read_text()) if asked.results.exists() else {}
    if asked.table:
        print(table(rows, asked.table.split(",")))
        return
    if not asked.row or not command:
        parser.error("--row and a command after -- are needed")
    row = rows.setdefault(asked.row, {"command": shlex.join(command), **measured_on(torch.device("cpu")), "seeds": {}})
    for seed in map(str, range(asked.seeds)):
        if seed not in row["seeds"]:
            row["seeds"][seed] = run([part.replace("{seed}", seed) for part in command], seed)
            asked.results.parent.mkdir(parents=True, exist_ok=True)
            asked.results.write_text(json.dumps(rows, indent=1) + "\n")
            print(asked.row, seed, row["seeds"][seed], file=sys.stderr, flush=True)


def run(command: list[str], seed: str) -> dict[str, Any]:
    """The report of one run, with the seconds that the whole command took."""
    started = time.monotonic()
    whole = [str(BIN / command[0]), *command[1:], "--seed", seed, "--json"]
    done = subprocess.run(whole, check=True, stdout=subprocess.PIPE, text=True)
    return {**json.loads(done.stdout), "wall_seconds": round(time.monotonic() - started, 1)}


def table(rows: dict[str, Any], keys: list[str]) -> str:
    """Markdown: mean and standard deviation over the seeds."""
    lines = [f"| row | seeds | {' | '.join(keys)} |", f"|---|---|{'---|' * len(keys)}"]
    for name, row in rows.items():
        reports = row["seeds"].values()
        cells = [cell([report[key] for report in reports if report.get(key) is not None]) for key in keys]
        lines.append(f"| {name} | {len(reports)} | {' | '.join(cells)} |")
    return "\n".join(lines)


def cell(values: list[float]) -> str:
    """Shares up to 1 as percentages."""
    if not values:
        return ""
    scale, unit = (100, " %") if max(values) <= 1 else (1, "")
    spread = f" ± {scale * statistics.stdev(values):.2f}" if len(values) > 1 else ""
    return f"{scale * statistics.fmean(values):,.2f}{spread}{unit}"


if __name__ == "__main__":
    main()
