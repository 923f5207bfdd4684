"""The hostile and random runs can write in their scratch folder alone, also for root, who could replace devices."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parent / "benchmarks"
SCRIPT = """
import os, sys
from pathlib import Path
sys.path.insert(0, {benchmarks!r})
from confinement import run_confined

def work(scratch):
    (scratch / "own").write_text("written")
    refused = 0
    for path in ({device!r}, {outside!r}):
        try:
            os.replace(scratch / "own", path)
        except OSError:
            refused += 1
    assert (scratch / "own").read_text() == "written"
    print(refused, scratch)
    return 5

sys.exit(run_confined(work))
"""


@pytest.mark.skipif(sys.platform != "linux" or os.geteuid() != 0, reason="only root has to be confined")
def test_root_can_write_in_the_scratch_folder_alone(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.write_text("precious")
    device = tmp_path / "device"  # as /dev/zero; the real one must not be at risk here
    try:
        os.mknod(device, 0o666 | stat.S_IFCHR, os.makedev(1, 5))
    except PermissionError:
        pytest.skip("this root may make no devices")
    script = SCRIPT.format(benchmarks=str(BENCHMARKS), outside=str(outside), device=str(device))
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    if "root cannot be confined" in done.stderr:
        pytest.skip(done.stderr.strip())  # then nothing is run at all
    refused, scratch = done.stdout.split()
    assert (done.returncode, refused) == (5, "2"), done.stderr
    assert outside.read_text() == "precious"
    assert not Path(scratch).exists()
    assert stat.S_ISCHR(device.stat().st_mode)
