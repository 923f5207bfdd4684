"""Reading YAML strictly: plain values, no key twice, and limits on size and depth that hold after aliases are expanded.

A file of a few lines may name itself by an alias, or grow to billions of values by aliases of aliases. Tags may name
Python objects. Only texts, numbers, truth values, null, lists and mappings are read here, and all keys are texts. A
date is a text. So are ``on``, ``off``, ``yes`` and ``no``, as in YAML 1.2: ``compile: off`` names one of three choices.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from .errors import ConfigError, one_line
from .files import read_limited

LARGEST = 2**18  # bytes of a file; PyYAML reads some 100 kB in a second
DEEPEST = 32  # levels of lists and mappings in one another
MOST = 2**20  # values and characters, after aliases are expanded
DIGITS = 400  # longest number; the largest one that a float holds has 309
_PREFIX = "tag:yaml.org,2002:"
_MERGE = f"{_PREFIX}merge"  # the key <<
_PLAIN = {f"{_PREFIX}{name}" for name in ("str", "int", "float", "bool", "null", "seq", "map", "merge")}


def load_yaml(path: Path) -> dict[str, Any]:
    """Read a YAML mapping (:mod:`.yaml_files`).

    Raises:
        ConfigError: the file is missing, is not YAML, or is not a mapping.
    """
    try:
        loaded = read_yaml(path)
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}") from error
    except ValueError as error:
        raise ConfigError(f"{path} is not valid YAML: {one_line(error)}") from error
    if not isinstance(loaded, dict):
        raise ConfigError(f"{path} must hold 'option: value' lines")
    return loaded


def read_yaml(path: Path) -> Any:
    """The value of a YAML file.

    Raises:
        OSError: it cannot be read.
        ValueError: it is no such file; the message says why.
    """
    data = read_limited(path, LARGEST)
    try:
        loader = _Loader(data.decode("utf-8-sig"))
        try:
            node = loader.get_single_node()
            if node is None:
                return None
            _Limits().check(node)
            return loader.construct_document(node)
        finally:
            loader.dispose()
    except yaml.YAMLError as error:
        raise ValueError(str(error)) from error


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader, which refuses deep files while it reads them, and reads a date or ``off`` as a text."""

    yaml_implicit_resolvers = {  # noqa: RUF012  # PyYAML's own way to configure a loader
        first: [(tag, pattern) for tag, pattern in resolvers if tag not in (f"{_PREFIX}timestamp", f"{_PREFIX}bool")]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._level = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        self._level += 1
        if self._level > DEEPEST:
            raise ValueError("too many levels")
        node = super().compose_node(parent, index)
        self._level -= 1
        return node


_Loader.add_implicit_resolver(f"{_PREFIX}bool", re.compile("^(?:true|True|TRUE|false|False|FALSE)$"), list("tTfF"))


class _Limits:
    """Checks a file's values before they are built. Each is looked at once, however many aliases name it."""

    def __init__(self) -> None:
        self._known: dict[int, tuple[int, int]] = {}  # size and height of the nodes that were checked, by id
        self._open: set[int] = set()  # nodes whose content is being checked

    def check(self, node: yaml.Node) -> tuple[int, int]:
        """The size of a node, in values and characters, and its height in levels.

        Raises:
            ValueError: it holds itself, is too large or too high, or something in it is not plain.
        """
        if id(node) in self._open:
            raise ValueError(f"line {node.start_mark.line + 1} holds itself")
        if id(node) in self._known:
            return self._known[id(node)]
        if node.tag not in _PLAIN:
            raise ValueError(f"line {node.start_mark.line + 1} has the tag {node.tag!r:.80}: write a plain value")
        self._open.add(id(node))
        size, height = 1, 1
        for item in _content(node):
            item_size, item_height = self.check(item)
            size, height = size + item_size, max(height, 1 + item_height)
        if isinstance(node, yaml.ScalarNode):
            size += len(node.value)
            if node.tag in (f"{_PREFIX}int", f"{_PREFIX}float") and len(node.value) > DIGITS:
                raise ValueError(f"line {node.start_mark.line + 1} has a number of more than {DIGITS} digits")
        if height > DEEPEST:
            raise ValueError("too many levels")
        if size > MOST:
            raise ValueError(f"it has more than {MOST:,} values and characters after its aliases are expanded")
        self._open.remove(id(node))
        self._known[id(node)] = size, height
        return size, height


def _content(node: yaml.Node) -> list[yaml.Node]:
    """What a list or a mapping holds.

    Raises:
        ValueError: a key of a mapping is no text, or stands there twice.
    """
    if isinstance(node, yaml.SequenceNode):
        return node.value
    if not isinstance(node, yaml.MappingNode):
        return []
    seen: set[str] = set()
    for key, _ in node.value:
        if not isinstance(key, yaml.ScalarNode) or key.tag not in (f"{_PREFIX}str", _MERGE):
            raise ValueError(f"line {key.start_mark.line + 1} has a key that is no text: put it in quotation marks")
        if key.value in seen:
            raise ValueError(f"line {key.start_mark.line + 1} has the key {key.value!r:.80} a second time")
        seen.add(key.value)
    return [item for pair in node.value for item in pair]
