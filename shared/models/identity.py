"""What a file keeps of a network: enough to load it again and to notice another one. Knows no torch."""

from __future__ import annotations

from dataclasses import dataclass

IN_MEMORY = "a network in memory"


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassifierRecord:
    """A classifier as a manifest describes it.

    Attributes:
        name, weights: as ``--teacher`` and ``--weights`` take them, paths made absolute; the name is None for a module
            that was given in memory, which no name loads.
        sha256: of the weights, whatever file format they came in.
        mean, std, image_size: see ``Preprocessing`` in :mod:`.preprocessing`.
        num_classes: width of the logits.
        class_names: one for each class, or empty.
    """

    name: str | None
    weights: str | None
    sha256: str
    mean: tuple[float, ...]
    std: tuple[float, ...]
    image_size: int
    num_classes: int
    class_names: tuple[str, ...]

    @property
    def title(self) -> str:
        """The name for people."""
        return self.name or IN_MEMORY

    @property
    def channels(self) -> int:
        return len(self.mean)

    def identity(self) -> dict[str, object]:
        """What the images depend on. The same network may lie elsewhere."""
        return {
            "sha256": self.sha256,
            "mean": list(self.mean),
            "std": list(self.std),
            "image_size": self.image_size,
        }
