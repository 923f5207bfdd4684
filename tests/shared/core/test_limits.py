"""Open files: the soft limit is raised, and beyond the hard limit there is one sentence with the way out."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from dreamdistill.shared.core.limits import most_mappings

pytest.importorskip("resource", reason="Windows has no such limits")
SOFT, HARD = 300, 2000

# Opens so many files with limits of its own.
OPENS = f"""
import os, resource, sys
from dreamdistill.shared.core.errors import ConfigError
from dreamdistill.shared.core.limits import require_open_files
resource.setrlimit(resource.RLIMIT_NOFILE, ({SOFT}, {HARD}))
try:
    require_open_files(int(sys.argv[1]))
    print(len([os.open(os.devnull, os.O_RDONLY) for _ in range(int(sys.argv[1]))]))
except ConfigError as error:
    print(error)
"""

# Reads so many shards, all of them the same file, with DALI, and sets the loader back.
READS = f"""
import resource, sys
from pathlib import Path
import torch
from dreamdistill.shared.core.errors import ConfigError
from dreamdistill.shared.core.launch import Place
from dreamdistill.shared.shards.dali_loader import DaliLoader
from dreamdistill.shared.shards.folder import ShardFolder

class Repeated(ShardFolder):
    def files(self, suffix):
        return [sys.argv[3] if suffix == "idx" else str(self.path / "000000.tar")] * len(self.records)

folder, count = ShardFolder.open(Path(sys.argv[1])), int(sys.argv[2])
many = Repeated(path=folder.path, manifest=folder.manifest, records=dict.fromkeys(range(count), folder.records[0]))
resource.setrlimit(resource.RLIMIT_NOFILE, ({SOFT}, {HARD}))
try:
    loader = DaliLoader(
        many, batch_size=1000, shuffle=False, seed=0, device=torch.device("cpu"), threads=1, place=Place()
    )
    print(len(next(iter(loader)).targets))
    loader.load_state_dict(loader.state_dict())
    print(len(next(iter(loader)).targets))
except ConfigError as error:
    print(error)
"""


def run(script: str, *arguments: object) -> str:
    command = [sys.executable, "-c", script, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_soft_limit_is_raised() -> None:
    assert run(OPENS, 1500) == "1500\n"


def test_beyond_the_hard_limit_the_way_out_is_said() -> None:
    sentence = run(OPENS, 1990)
    assert sentence.startswith(f"1990 shards would be open at the same time, and this process may open {HARD} files")
    assert all(words in sentence for words in ("--loader webdataset", "--shard-size", "ulimit -Hn"))


@pytest.fixture
def index(made_shards: Path, tmp_path: Path) -> Path:
    """An index of one sample, so that DALI has less to read."""
    path = tmp_path / "one.idx"
    path.write_text("v1.2 1\n" + (made_shards / "000000.idx").read_text().splitlines()[1] + "\n")
    return path


@pytest.mark.parametrize("share", [1, 0.6])
def test_dali_keeps_no_shard_open_while_it_can_map_them(made_shards: Path, index: Path, share: float) -> None:
    pytest.importorskip("nvidia.dali")
    count = int(most_mappings() // 2 * share)  # two readers of 0.6 would be too many
    if count > 50_000:
        pytest.skip("this kernel maps more files than a test should make")
    assert run(READS, made_shards, count, index) == "1000\n1000\n"


def test_dali_with_more_shards_than_can_be_mapped_or_opened(made_shards: Path, index: Path) -> None:
    pytest.importorskip("nvidia.dali")
    count = most_mappings() // 2 + 1
    if count > 50_000:
        pytest.skip("this kernel maps more files than a test should make")
    sentence = run(READS, made_shards, count, index)
    assert sentence.startswith(f"{count} shards would be open at the same time")
