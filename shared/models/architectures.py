"""Networks by name: how each kind of name is built, what its input looks like, where its weights come from.

A name is a torchvision model (``resnet50``), ``timm/NAME``, one of :data:`~.networks.NETWORKS`, a folder that
:func:`~.checkpoints.save_model` wrote, or ``path/to/file.py:factory`` for a user's own network.
"""

from __future__ import annotations

import importlib.util
import inspect
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from ..core.config import fingerprint
from ..core.errors import ConfigError, nearest, one_line
from .channels import apply_channel_config
from .checkpoints import MODEL_JSON, MODEL_WEIGHTS, read_model_json, read_weights
from .networks import NETWORKS

State = Mapping[str, Tensor]
SHIPPED_WEIGHTS = Path(__file__).parent / "weights"


@dataclass(frozen=True, slots=True, kw_only=True)
class Architecture:
    """A network that can be built.

    Attributes:
        name: the name, with paths made absolute: it must mean the same from another folder.
        build: number of classes (None: the architecture's own) and input channels -> a network.
        pretrained: name of a weights entry (None: the best there is) -> its state, or None if what ``build`` returned
            holds its weights already. Raises ConfigError where there are none.
        image_size, mean, std: the usual input; mean and std are None where nobody said.
        class_names: one a class, or empty.
        base: the name that builds it before a channel table is applied; a saved model's is another than its own.
        arrives_trained: whether ``build`` may return trained weights (a user's factory).
    """

    name: str
    build: Callable[[int | None, int], nn.Module]
    pretrained: Callable[[str | None], State | None]
    image_size: int
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    class_names: tuple[str, ...] = ()
    base: str = ""
    arrives_trained: bool = False

    def __post_init__(self) -> None:
        if not self.base:
            object.__setattr__(self, "base", self.name)


def find_architecture(name: str) -> Architecture:
    """The architecture of a name.

    Raises:
        ConfigError: nothing has this name (the nearest one is named), or its package is not installed.
    """
    if name in NETWORKS:
        return _own(name)
    if name.startswith("timm/"):
        return _timm(name)
    path, colon, factory = name.rpartition(":")
    if colon and path.endswith(".py"):
        return _user_file(Path(path), factory)
    if Path(name).is_dir():
        return _saved_model(Path(name))
    return _torchvision(name)


def _own(name: str) -> Architecture:
    network = NETWORKS[name]
    shipped = SHIPPED_WEIGHTS / f"{name}.safetensors"

    def pretrained(entry: str | None) -> State:
        if entry is not None or not shipped.exists():
            raise ConfigError(f"{name} has no weights of that name: pass --weights FILE.safetensors, or --weights none")
        return read_weights(shipped)

    return Architecture(
        name=name,
        build=lambda num_classes, channels: network.build(num_classes=num_classes or 10, in_channels=channels),
        pretrained=pretrained,
        image_size=network.image_size,
        mean=network.mean,
        std=network.std,
    )


def _torchvision(name: str) -> Architecture:
    import torchvision

    # torchvision.models alone: detection and segmentation models are registered elsewhere.
    known = torchvision.models.list_models(module=torchvision.models)
    if name not in known:
        raise ConfigError(
            f"there is no teacher {name!r}{nearest(name, [*known, *NETWORKS])}"
            " (names: torchvision's, timm/NAME, our own, a saved model's folder, path/to/file.py:factory)"
        )
    entries = torchvision.models.get_model_weights(name)
    best = next(iter(entries)) if len(entries) else None
    best = getattr(entries, "DEFAULT", best)

    def build(num_classes: int | None, channels: int) -> nn.Module:
        if channels != 3:
            raise ConfigError(f"{name} takes colour images: give --mean and --std three numbers each")
        return torchvision.models.get_model(name, weights=None, num_classes=num_classes or 1000)

    def pretrained(entry: str | None) -> State:
        weights = best if entry is None else entries.__members__.get(entry)
        if weights is None:
            raise ConfigError(
                f"{name} has no weights {entry!r}{nearest(str(entry), entries.__members__)}; a file must end in"
                " .safetensors, .pth or .pt"
            )
        try:
            return weights.get_state_dict(progress=False, check_hash=True)
        except (OSError, RuntimeError) as error:  # URLError is an OSError; a bad hash is a RuntimeError
            raise _no_download(name, error) from error

    size, mean, std = 224, None, None
    if best is not None:
        preset = best.transforms()
        size, mean, std = preset.crop_size[0], tuple(preset.mean), tuple(preset.std)
    return Architecture(
        name=name,
        build=build,
        pretrained=pretrained,
        image_size=size,
        mean=mean,
        std=std,
        class_names=tuple(best.meta.get("categories", ())) if best is not None else (),
    )


def _timm(name: str) -> Architecture:
    try:
        import timm
    except ImportError as error:
        raise ConfigError(f"{name} needs timm: pip install 'dreamdistill[timm]'") from error
    model = name.removeprefix("timm/")
    base = model.split(".")[0]
    if not timm.is_model(base):
        raise ConfigError(f"timm has no model {base!r}{nearest(base, timm.list_models())}")
    config = timm.get_pretrained_cfg(model)
    cfg: dict[str, Any] = config.to_dict() if config is not None else {}

    def build(num_classes: int | None, channels: int) -> nn.Module:
        return timm.create_model(model, pretrained=False, num_classes=num_classes, in_chans=channels)

    def pretrained(entry: str | None) -> State:
        if entry is not None:
            raise ConfigError(f"timm names its weights in the model: timm/{base}.{entry}")
        try:
            return timm.create_model(model, pretrained=True).state_dict()
        except Exception as error:  # the hub client raises errors of three libraries, none with a common base
            raise _no_download(name, error) from error

    return Architecture(name=name, build=build, pretrained=pretrained, **_timm_preprocessing(cfg))


def _user_file(path: Path, factory_name: str) -> Architecture:
    if not path.is_file():
        raise ConfigError(f"there is no file {path} to take {factory_name!r} from")
    # A name of its own: two users' files may be called alike, and dataclasses look themselves up by it.
    module_name = f"dreamdistill_teacher_{fingerprint(str(path.resolve()))[:12]}"
    spec = importlib.util.spec_from_file_location(module_name, path)
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[module_name] = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:  # the user's own code
        raise ConfigError(f"{path} cannot be imported ({type(error).__name__}: {one_line(error)})") from error
    factory = getattr(module, factory_name, None)
    if not callable(factory):
        raise ConfigError(f"{path} has no function {factory_name!r}{nearest(factory_name, vars(module))}")
    takes_classes = "num_classes" in inspect.signature(factory).parameters

    def build(num_classes: int | None, channels: int) -> nn.Module:
        made = factory(num_classes=num_classes) if takes_classes and num_classes is not None else factory()
        if not isinstance(made, nn.Module):
            raise ConfigError(f"{path}:{factory_name} must return a torch.nn.Module")
        return made

    def pretrained(entry: str | None) -> None:
        if entry is not None:
            raise ConfigError(f"--weights {entry}: there is no such file, and {path.name} names no weights entries")

    # A factory may carry timm's `pretrained_cfg` (mean, std, input_size) as an attribute.
    cfg: dict[str, Any] = getattr(factory, "pretrained_cfg", {})
    return Architecture(
        name=f"{path.resolve()}:{factory_name}",
        build=build,
        pretrained=pretrained,
        arrives_trained=True,
        **_timm_preprocessing(cfg),
    )


def _saved_model(folder: Path) -> Architecture:
    if not (folder / MODEL_JSON).is_file():
        raise ConfigError(f"{folder} holds no saved model: there is no {MODEL_JSON} in it")
    saved = read_model_json(folder)
    base = find_architecture(saved["architecture"])

    def build(num_classes: int | None, channels: int) -> nn.Module:
        if num_classes not in (None, saved["num_classes"]):
            raise ConfigError(f"{folder} has {saved['num_classes']} classes, not {num_classes}")
        network = base.build(saved["num_classes"], channels)
        apply_channel_config(network, saved["widths"])
        return network

    def pretrained(entry: str | None) -> State:
        if entry is not None:
            raise ConfigError(f"--weights {entry}: there is no such file")
        return read_weights(folder / MODEL_WEIGHTS)

    return Architecture(
        name=str(folder.resolve()),
        base=base.base,
        build=build,
        pretrained=pretrained,
        image_size=saved["image_size"],
        mean=tuple(saved["mean"]),
        std=tuple(saved["std"]),
        class_names=tuple(saved["class_names"]),
    )


def _timm_preprocessing(cfg: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "image_size": int(cfg.get("input_size", (3, 224, 224))[-1]),
        "mean": tuple(cfg["mean"]) if "mean" in cfg else None,
        "std": tuple(cfg["std"]) if "std" in cfg else None,
    }


def _no_download(name: str, error: Exception) -> ConfigError:
    return ConfigError(
        f"the weights of {name} could not be downloaded ({one_line(error)}): fetch them on a machine with a network"
        " and pass --weights FILE.safetensors or FILE.pth (--weights none for random weights)"
    )
