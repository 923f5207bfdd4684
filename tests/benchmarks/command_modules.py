"""The commands and the modules that hold them."""

from __future__ import annotations

MODULES = {
    "di-invert": "dreamdistill.invert.cli",
    "di-distill": "dreamdistill.distill.cli",
    "di-prune": "dreamdistill.prune.cli",
    "di-extend": "dreamdistill.distill.extend.cli",
    "di-run": "dreamdistill.pipelines.run",
    "di-shards": "dreamdistill.shared.cli.di_shards",
    "di-model": "dreamdistill.shared.cli.di_model",
}
