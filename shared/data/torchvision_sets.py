"""torchvision's data sets as evaluation sets: ``torchvision:NAME:ROOT`` or ``torchvision:NAME/PART:ROOT``.

What a set takes is read from its signature. The tables say only what no signature says: which sets have no single class
for an image, and which part is for tests where that is not the one called so.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from PIL import Image

from ..core.errors import ConfigError, nearest, one_line
from .class_order import Classes
from .dataset_items import names_of, order_of, read_item
from .labelled_set import LabelledSet

PREFIX = "torchvision:"
FORM = "torchvision:NAME:ROOT"

_REASONS: dict[str, str] = {  # names of sets that are no images with one class each -> what they are
    **dict.fromkeys(("CocoCaptions", "SBU", "Flickr8k", "Flickr30k"), "has captions and no classes"),
    **dict.fromkeys(("CocoDetection", "VOCDetection", "WIDERFace", "Kitti"), "has boxes and no class of an image"),
    **dict.fromkeys(("VOCSegmentation", "Cityscapes", "SBDataset"), "has classes of pixels and none of an image"),
    **dict.fromkeys(("Kinetics", "HMDB51", "UCF101", "MovingMNIST"), "has videos and no images"),
    **dict.fromkeys(("PhotoTour", "LFWPairs"), "has pairs of images and no classes"),
    **dict.fromkeys(("ImageFolder", "DatasetFolder"), "is any folder: name the folder itself"),
    **dict.fromkeys(("VisionDataset", "LSUNClass"), "is a part of torchvision's other sets, and none of its own"),
    "FakeData": "has random pixels and random classes",
    "CelebA": "has attributes of faces, several an image",
    "Omniglot": "has other classes in its part for tests than in that for training",
}
_FAMILIES = {"FlowDataset": "has optical flow and no classes", "StereoMatchingDataset": "has depth and no classes"}
_PART_ARGUMENTS = ("split", "what", "version", "classes", "train")  # in the order in which they say the part
_PARTS = ("test", "val", "valid")  # the names of parts that are tried, the first that there is
_TEST_PARTS: dict[str, dict[str, Any]] = {  # where the part called test has no labels, or none is called so
    "CLEVRClassification": {"split": "val"},
    "INaturalist": {"version": "2021_valid"},
    "LSUN": {"classes": "val"},
    "Places365": {"split": "val"},
}
_NO_CLASS = "N/A"  # what EMNIST's letters, numbered from 1, have as class 0


def classification_sets() -> list[str]:
    """The names of torchvision's data sets that can be read, sorted."""
    from torchvision import datasets

    return sorted(name for name in datasets.__all__ if _why_not(name) is None)


def open_torchvision(spec: str, classes: Classes) -> LabelledSet:
    """Open a data set that lies under ROOT. Nothing is downloaded.

    PART is the part's name in torchvision (``letters`` of EMNIST, ``val``), or arguments of the set's class, separated
    by commas (``Places365/small=true``). Without it the test part is read, or the validation part if that has none, or
    all images of a set without parts, which a line on stderr says.

    Raises:
        ConfigError: there is no such set, it has no classes, or it cannot be read.
    """
    name, part, root = _split(spec)
    create = _find(spec, name)
    dataset = _create(spec, create, name, part, root)
    names = [re.sub("_(train|val)$", "", own) if name == "LSUN" else own for own in names_of(dataset)]
    remarks: list[str] = []
    if parameters_of(create).keys().isdisjoint(_PART_ARGUMENTS):
        remarks.append(
            f"{name} has no test part, so all images are used, also those that the teacher may have learnt from"
        )
    if from_one := names[:1] == [_NO_CLASS] and classes.number in (None, len(names) - 1):
        remarks.append("its labels begin at 1, and the teacher's classes at 0: one is taken from each")
        names = names[1:]
    order, remark = order_of(names, classes)
    if from_one:
        order = [-1, *(order or range(len(names)))]
    return LabelledSet(
        name=spec,
        count=len(dataset),
        classes=len(names) or None,
        class_names=tuple(names),
        remarks=tuple(filter(None, (*remarks, remark))),
        read=lambda: _items(spec, dataset, classes, order),
    )


def _split(spec: str) -> tuple[str, str, str]:
    """Name, part and root."""
    _, name, root = [*spec.split(":", 2), ""][:3]
    name, _, part = name.partition("/")
    if not root:
        raise ConfigError(f"{spec}: write {FORM}, for example torchvision:CIFAR10:data")
    return name, part, root


def _find(spec: str, name: str) -> Callable[..., Any]:
    from torchvision import datasets

    known = classification_sets()
    if name not in datasets.__all__:
        raise ConfigError(
            f"{spec}: torchvision has no data set {name!r}; write {FORM}, for example torchvision:CIFAR10:data, with"
            f" one of {', '.join(known)}{nearest(name, known)}"
        )
    if (reason := _why_not(name)) is not None:
        raise ConfigError(f"{spec}: torchvision's {name} {reason}; use one of {', '.join(known)}")
    return getattr(datasets, name)


def _why_not(name: str) -> str | None:
    """Why a name is not one of a set with one class an image; None if it is."""
    from torchvision import datasets

    found = getattr(datasets, name)
    if not inspect.isclass(found):
        return "is a function and no data set"
    families = (_FAMILIES.get(base.__name__) for base in found.__mro__)
    return _REASONS.get(name) or next((reason for reason in families if reason), None)


def parameters_of(create: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    """The arguments of a set's class, with those of its bases where it passes others on."""
    found: dict[str, inspect.Parameter] = {}
    for cls in inspect.getmro(create) if inspect.isclass(create) else ():
        own = inspect.signature(cls.__init__).parameters
        found = {**{name: item for name, item in own.items() if item.kind != item.VAR_KEYWORD}, **found}
        if not any(item.kind == item.VAR_KEYWORD for item in own.values()):
            break
    return found


def _create(spec: str, create: Callable[..., Any], name: str, part: str, root: str) -> Any:
    parameters = parameters_of(create)
    fixed = {"download": False} if "download" in parameters else {}  # SEMEION would download by itself
    given = _arguments(spec, name, part, parameters)
    for choice in _choices(spec, name, given, parameters):
        try:
            return create(root, **{**fixed, **choice, **given})
        except ValueError as error:
            if "split" in given or not re.match("Unknown value '(test|val|valid)' for argument split", str(error)):
                raise _unreadable(spec, error) from error
        except Exception as error:  # it may lack files, or a library to read them, and each says so in its own way
            raise _unreadable(spec, error) from error
    raise ConfigError(
        f"{spec}: torchvision's {name} has no test part of a known name; write torchvision:{name}/PART:ROOT"
    )


def _unreadable(spec: str, error: BaseException) -> ConfigError:
    if str(error).startswith("Unknown value"):  # torchvision's check of a part's name
        return ConfigError(f"{spec}: {one_line(error).rstrip('.')}; write another part")
    said = re.sub(r"[.,]? *[Yy]ou (can|may) (use|set) download=True.*", "", one_line(error, 1000))
    if isinstance(error, ImportError):
        return ConfigError(f"{spec}: {said}; install this module, which torchvision reads the set with")
    return ConfigError(f"{spec}: {said}; nothing is downloaded: put torchvision's files of this set under ROOT")


def _choices(
    spec: str, name: str, given: Mapping[str, Any], parameters: Mapping[str, inspect.Parameter]
) -> list[dict[str, Any]]:
    """The arguments for the test part, in the order in which they are to be tried."""
    if name in _TEST_PARTS:
        return [{key: value for key, value in _TEST_PARTS[name].items() if key not in given}]
    if "train" in parameters and "train" not in given:
        if parameters.get("split", parameters["train"]).default is inspect.Parameter.empty and "split" not in given:
            raise ConfigError(f"{spec}: {name} has several sets: write torchvision:{name}/SET:ROOT{_example(name)}")
        return [{"train": False} if "what" not in given else {}]
    if "split" in parameters:
        return [{}] if "split" in given else [{"split": part} for part in _PARTS]
    return [{}]


def _example(name: str) -> str:
    from torchvision import datasets

    splits = getattr(getattr(datasets, name), "splits", ())
    return f", with one of {', '.join(splits)}" if splits else ""


def _arguments(
    spec: str, name: str, part: str, parameters: Mapping[str, inspect.Parameter]
) -> dict[str, str | int | bool]:
    """What PART says: arguments by name, or the value of the one that says the part."""
    found: dict[str, str | int | bool] = {}
    for word in filter(None, part.split(",")):
        key, equals, value = word.partition("=")
        if not equals:
            key = next((argument for argument in _PART_ARGUMENTS if argument in parameters), "")
            value = word
            if key == "train":
                value = {"train": "true", "test": "false"}.get(word, word)
        settable = [n for n, item in parameters.items() if type(item.default) in (str, bool, int) and n != "download"]
        settable += [n for n in ("split", "what") if n in parameters and n not in settable]
        if key not in settable:
            can = f"takes {', '.join(settable)}" if settable else "has no parts"
            raise ConfigError(f"{spec}: torchvision's {name} {can}, and not {word!r}; write torchvision:{name}:ROOT")
        found[key] = _value(spec, key, value, type(parameters[key].default))
    return found


def _value(spec: str, key: str, text: str, kind: type) -> str | int | bool:
    if kind is bool:
        if text.lower() not in ("true", "false"):
            raise ConfigError(f"{spec}: {key} is true or false, and not {text!r}; write {key}=true or {key}=false")
        return text.lower() == "true"
    if kind is int:
        if not re.fullmatch("[0-9]{1,9}", text):
            raise ConfigError(f"{spec}: {key} is a whole number, and not {text!r}; write {key}=1")
        return int(text)
    return text


def _items(spec: str, dataset: Any, classes: Classes, order: list[int] | None) -> Iterator[tuple[Image.Image, int]]:
    for number in range(len(dataset)):
        where = f"{spec}: item {number}"
        try:
            item = dataset[number]
        except Exception as error:  # as above
            raise ConfigError(f"{where} cannot be read: {one_line(error)}; mend the file") from error
        yield read_item(item, where, classes, order)
