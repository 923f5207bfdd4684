"""The house: who may import whom, what a module may know, and how long it may be."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
# Floors from the ground up: a room imports from itself and from the floors below.
FLOORS = [
    ["shared/core"],
    ["shared/models"],
    ["shared/structure"],
    ["shared/data"],
    ["shared/shards"],
    ["shared/report"],
    ["shared/export"],
    ["shared/cli"],
    ["invert", "distill"],
    ["prune"],
    ["pipelines"],
    ["dreamdistill"],
]
# Stages do not import one another, but that pruning repairs by distill's trainer.
STAGES = {"invert": set(), "distill": set(), "prune": {"distill"}}
ROOMS = [room for floor in FLOORS for room in floor]
HEIGHT = {room: height for height, floor in enumerate(FLOORS) for room in floor}
FILES = [path for room in ROOMS for path in sorted((ROOT / room).rglob("*.py")) if not path.is_symlink()]
MODULES = [path for path in FILES if path.name != "__init__.py" or path.parent.name == "dreamdistill"]
# The modules that talk to people, on a terminal.
KNOW_CLICK_OR_RICH = {
    "shared/cli/commandline.py",
    "shared/cli/common_options.py",
    "shared/cli/di_model.py",
    "shared/cli/di_shards.py",
    "shared/cli/help.py",
    "shared/cli/monitor_view.py",
    "shared/cli/progress.py",
    "shared/cli/reference.py",
    "shared/cli/setting_options.py",
    "shared/cli/shard_report.py",
    "pipelines/report.py",
    "pipelines/run.py",
}
LONGEST = 250  # lines


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def room_of(parts: list[str]) -> str:
    """The room of a module, given by the parts of its dotted name below ``dreamdistill``."""
    if parts and parts[0] == "shared":
        return "/".join(parts[:2])
    return parts[0] if parts and parts[0] in HEIGHT else "dreamdistill"


def imported_rooms(path: Path) -> set[str]:
    """Rooms that a module imports from, be it at its top or inside a function."""
    parts = list(path.relative_to(ROOT).parent.parts)
    package = parts[1:] if parts[0] == "dreamdistill" else parts
    rooms: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if not isinstance(node, ast.ImportFrom):
            continue
        module = node.module.split(".") if node.module else []
        if node.level:
            base = package[: len(package) - (node.level - 1)] + module
        elif module[:1] == ["dreamdistill"]:
            base = module[1:]
        else:
            continue
        # "from ..shared import x" and "from . import x" name the module only in what is imported.
        targets = [base] if room_of(base) not in ("dreamdistill", "shared") else [[*base, a.name] for a in node.names]
        rooms |= {room_of(target) for target in targets}
    return rooms


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_no_module_imports_upward_or_from_another_stage(path: Path) -> None:
    own = room_of(list(path.relative_to(ROOT).parent.parts))
    for room in imported_rooms(path):
        assert HEIGHT[room] <= HEIGHT[own], f"{name_of(path)} imports {room}, which is above it"
        if own in STAGES and room in STAGES and room != own:
            assert room in STAGES[own], f"{name_of(path)} imports the stage {room}"


def test_the_rule_would_notice_an_import_upward(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = tmp_path / "shared/core/low.py"
    module.parent.mkdir(parents=True)
    module.write_text("def f():\n    from ..shards.folder import ShardFolder\n    from ...invert import stage\n")
    monkeypatch.setitem(globals(), "ROOT", tmp_path)
    assert imported_rooms(module) == {"shared/shards", "invert"}


def test_only_the_command_line_knows_click_and_rich() -> None:
    knows = {name_of(path) for path in MODULES if "import click" in path.read_text() or "from rich" in path.read_text()}
    assert knows == KNOW_CLICK_OR_RICH


@pytest.mark.parametrize("path", [*MODULES, *sorted((ROOT / "tests").rglob("*.py"))], ids=name_of)
def test_no_file_is_too_long_to_read(path: Path) -> None:
    lines = len(path.read_text().splitlines())
    assert lines <= LONGEST, f"{name_of(path)} has {lines} lines: it has more than one role"


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_every_module_says_what_it_is_for(path: Path) -> None:
    assert ast.get_docstring(ast.parse(path.read_text())), name_of(path)


def test_the_package_links_every_room() -> None:
    links = {path.name: path.resolve() for path in (ROOT / "dreamdistill").iterdir() if path.is_symlink()}
    assert links == {room: ROOT / room for room in ("shared", "invert", "distill", "prune", "pipelines")}
