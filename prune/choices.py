"""What was chosen to go, in the folder of a run, so that a call that goes on makes the same cut."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..shared.core.errors import DreamError
from ..shared.core.records import OtherSchemaError, read_record_file, write_record_file
from .selection import Choice

FILE = "choices.json"
SCHEMA = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Choices:
    """The choices of a run so far.

    Attributes:
        run: identity of the run (:class:`~dreamdistill.shared.models.results.ResultFolder`).
        choices: one of each iteration.
    """

    run: str
    choices: tuple[Choice, ...] = ()

    @classmethod
    def read(cls, folder: Path, run: str) -> Choices:
        """Those in a folder; none where it has none of this run.

        Raises:
            DreamError: they are damaged.
        """
        path = folder / FILE
        try:
            found = read_record_file(path, cls, schema=SCHEMA)
        except (FileNotFoundError, OtherSchemaError):
            return cls(run=run)
        except ValueError as error:
            raise DreamError(f"{path} is damaged ({error}); run again with --overwrite") from error
        return found if found.run == run else cls(run=run)

    def write(self, folder: Path, choices: Sequence[Choice]) -> None:
        """Replace those in the folder."""
        folder.mkdir(parents=True, exist_ok=True)
        write_record_file(folder / FILE, Choices(run=self.run, choices=tuple(choices)), schema=SCHEMA)
