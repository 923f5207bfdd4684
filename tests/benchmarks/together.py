"""Two commands that start in the same second on one folder, many times: one manifest, each shard made once.

python tests/benchmarks/together.py --times 50 --json
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

COMMAND = [sys.executable, "-c", "from dreamdistill.invert.cli import main; main()"]
ROUND = ["--teacher", "digits_cnn", "--images", "48", "--shard-size", "4", "--steps", "20", "--workers", "1", "--json"]
SHARDS = 12


def together(folder: Path) -> tuple[bool, int]:
    """Whether the result is right, and how many shards the command that made fewer of them made."""
    processes = [
        subprocess.Popen([*COMMAND, *ROUND, "--out", str(folder)], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        for _ in range(2)
    ]
    outputs = [process.communicate() for process in processes]
    records = [json.loads(path.read_text()) for path in folder.glob("0*.json")]
    made = Counter(record["worker"] for record in records)
    names = {path.name for path in folder.iterdir()}
    expected = {f"{number:06d}.{suffix}" for number in range(SHARDS) for suffix in ("tar", "idx", "json")}
    right = (
        all(process.returncode == 0 for process in processes)
        and all(json.loads(stdout)["shards"] == SHARDS for stdout, _ in outputs)
        and len(json.loads((folder / "manifest.json").read_text())["rounds"]) == 1
        and names == expected | {"manifest.json", "_info.json", ".locks"}
    )
    if not right:
        print(folder, [stderr.decode()[-500:] for _, stderr in outputs], names ^ expected, file=sys.stderr)
    return right, min(made.values()) if len(made) == 2 else 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", type=int, default=50)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    results = []
    for _ in range(options.times):
        with tempfile.TemporaryDirectory() as folder:
            results.append(together(Path(folder)))
    report = {
        "times": options.times,
        "right": sum(right for right, _ in results),
        "both_made_shards": sum(least > 0 for _, least in results),
    }
    print(json.dumps(report) if options.json else report)
    sys.exit(report["right"] != options.times)


if __name__ == "__main__":
    main()
