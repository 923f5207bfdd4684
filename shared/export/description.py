"""What a model is: its task, its size, its layers, and the run that made it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..core.yaml_files import load_yaml
from ..models.classifier import Classifier
from ..models.cost import num_filters, num_parameters
from ..models.dropped import dropped_blocks
from ..models.results import CONFIG
from ..structure.layers import LayerShape, layer_shapes

# Settings of a run that say where it came from.
_ORIGIN = ("shards", "teacher", "student", "init", "ratio", "macs", "latency", "params")


@dataclass(frozen=True, slots=True, kw_only=True)
class Description:
    """What a model is.

    Attributes:
        facts: title -> value, for people and for ``--json``.
        layers: name -> shape, in the order of their run; BatchNorms are left out.
    """

    facts: Mapping[str, Any]
    layers: Mapping[str, LayerShape]

    def as_mapping(self) -> dict[str, Any]:
        """For ``--json``."""
        layers = [
            {
                "layer": name,
                "kind": shape.kind,
                "inputs": shape.inputs,
                "outputs": shape.outputs,
                "kernel": list(shape.kernel_size),
                "groups": shape.groups,
                "size": list(shape.size),
            }
            for name, shape in self.layers.items()
        ]
        return {**self.facts, "layers": layers}


def describe(classifier: Classifier, folder: Path | None) -> Description:
    """Describe a model.

    Args:
        folder: where it is saved; None for one that is not.
    """
    device = next(classifier.network.parameters()).device
    preprocessing = classifier.preprocessing
    shapes = layer_shapes(classifier.network, preprocessing.blank(1, device))
    return Description(
        facts={
            "model": classifier.title,
            "architecture": classifier.architecture,
            "made_with": _origin(folder) if folder is not None else None,
            "classes": classifier.num_classes,
            "class_names": list(classifier.class_names),
            "image_size": preprocessing.image_size,
            "mean": list(preprocessing.mean),
            "std": list(preprocessing.std),
            "parameters": num_parameters(classifier.network),
            "macs": classifier.macs,
            "filters": num_filters(classifier.network),
            "blocks_removed": list(dropped_blocks(classifier.network)),
            "sha256": classifier.sha256,
        },
        layers={name: shape for name, shape in shapes.items() if shape.kind != "norm"},
    )


def _origin(folder: Path) -> str | None:
    """What the run that made it was given: ``shards shards/, macs 0.5``; None where the folder has no record of one."""
    path = folder / CONFIG
    if not path.is_file():
        return None
    record = load_yaml(path)
    return ", ".join(f"{name} {record[name]}" for name in _ORIGIN if record.get(name) is not None)
