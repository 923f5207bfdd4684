"""A pipeline file with comments, to edit: what ``di-run new`` writes."""

from __future__ import annotations

from pathlib import Path

from ..shared.core.errors import ConfigError
from ..shared.core.files import write_text

TEMPLATE = Path(__file__).parent / "templates/new.yaml"


def write_new(path: Path) -> None:
    """Write the file.

    Raises:
        ConfigError: there is something of that name already, or no folder for it.
    """
    if path.exists():
        raise ConfigError(f"{path} exists: name another file, or delete it first")
    if not path.parent.is_dir():
        raise ConfigError(f"there is no folder {path.parent}: make it, or name another file")
    write_text(path, TEMPLATE.read_text(encoding="utf-8"))
