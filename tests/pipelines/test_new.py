"""``di-run new``: a file that runs as it is, and is not written over another one."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from dreamdistill.pipelines.new import TEMPLATE
from dreamdistill.pipelines.plan import load_pipeline


def test_a_new_file_is_a_pipeline(di: Callable, fails: Callable, tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    result = di("di-run", "new", path)
    assert (result.code, result.stderr) == (0, "")
    assert [stage.kind for stage in load_pipeline(str(path), {}).stages] == ["invert", "prune", "export"]
    path.write_text("# mine\n")
    fails("di-run", "new", path, code=2, says=["exists"])
    assert path.read_text() == "# mine\n"
    fails("di-run", "new", tmp_path, code=2, says=["exists"])
    fails("di-run", "new", tmp_path / "no/where.yaml", code=2, says=["there is no folder"])


def test_what_stands_in_comments_is_right_too(tmp_path: Path) -> None:
    lines = TEMPLATE.read_text().splitlines()
    path = tmp_path / "all.yaml"
    optional = [re.sub(r"^(\s*)# (\s*[a-z_]+:( |$))", r"\1\2", line) for line in lines]
    path.write_text("\n".join(optional))
    stages = load_pipeline(str(path), {}).stages
    assert [stage.kind for stage in stages] == ["invert", "prune", "distill", "export"]
    assert stages[0].config.mean == (0.485, 0.456, 0.406)
    assert stages[1].config.changes == {"flip": False, "epochs": 100}
    assert stages[3].config.export.normalize
