"""Names the marker of the tests that bring up a SLURM of their own."""

from __future__ import annotations

import pytest


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "slurm: brings up a real SLURM of one node; needs root, munge and slurm-wlm")
