"""Evaluation sets of a user's own file: ``FILE.py:NAME``, a data set, or a function or class that makes one."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from PIL import Image
from torch.utils.data import IterableDataset

from ..core.errors import ConfigError, nearest
from ..models.named_files import read_source, split_name
from ..models.user_code import arguments_for, run_file, running
from .class_order import Classes
from .dataset_items import names_of, order_of, read_item
from .labelled_set import LabelledSet

TOGETHER = 8  # items that are read at a time: to enter a user's file takes milliseconds


def open_users_set(spec: str, classes: Classes) -> LabelledSet:
    """Run a user's file, and open the data set that it defines.

    A data set has ``len`` and items by number, or can be iterated over. An item is (image, label): an image of Pillow,
    an array (H, W, C) or a tensor (C, H, W), uint8 or floats from 0 to 1, and a class number or a class name of the
    network's. Labels count the classes of its attribute ``classes``, if those are the network's in another order.

    Args:
        spec: named by the user, not by data, so that the file may be run.

    Raises:
        ConfigError: the file cannot be run, or defines no such data set.
    """
    if (found := split_name(spec)) is None:
        raise ConfigError(f"{spec} names no data set: write {spec}:NAME, with the one that is to be read")
    source = read_source(found[0])
    source.remember()
    path, name = source.path, found[1]
    module = run_file(source)
    if (defined := getattr(module, name, None)) is None:
        raise ConfigError(f"{path} has no data set {name!r}{nearest(name, vars(module))}")
    make = _maker(defined, path, spec, classes.number)
    dataset = make()
    once = hasattr(dataset, "__next__")  # a generator, which is made again for each reading
    if once and make() is dataset:
        raise ConfigError(f"{spec} can be read once only: name the function that makes it")
    if not (_has_items(dataset) or hasattr(dataset, "__iter__")):
        raise ConfigError(f"{spec} must be, or return, a data set of (image, label), not {type(dataset).__name__}")
    names = names_of(dataset)
    order, remark = order_of(names, classes)

    def read() -> Iterator[tuple[Image.Image, int]]:
        for number, item in enumerate(_items(make() if once else dataset, path, spec)):
            yield read_item(item, f"{spec}: item {number}", classes, order)

    with running(path, f"{spec} failed"):
        count = len(dataset) if _has_items(dataset) else None
    remarks = (remark,) if remark else ()
    return LabelledSet(
        name=spec,
        count=count,
        classes=len(names) or None,
        class_names=tuple(names),
        remarks=remarks,
        read=read,
    )


def _maker(defined: Any, path: Path, spec: str, num_classes: int | None) -> Callable[[], Any]:
    """What gives the data set: the object itself, or what it returns."""
    is_set = _has_items(defined) or hasattr(defined, "__iter__")
    if not inspect.isclass(defined) and (is_set or not callable(defined)):
        return lambda: defined
    arguments = arguments_for(defined, spec, num_classes)

    def make() -> Any:
        with running(path, f"{spec} failed"):
            return defined(**arguments)

    return make


def _has_items(dataset: Any) -> bool:
    return hasattr(dataset, "__getitem__") and hasattr(dataset, "__len__") and not isinstance(dataset, IterableDataset)


def _items(dataset: Any, path: Path, spec: str) -> Iterator[Any]:
    with running(path, f"{spec} failed"):
        items = (dataset[n] for n in range(len(dataset))) if _has_items(dataset) else iter(dataset)
    first = 0
    while True:
        with running(path, f"{spec} failed at one of the items {first} to {first + TOGETHER - 1}"):
            some = list(islice(items, TOGETHER))
        if not some:
            return
        yield from some
        first += len(some)
