"""How many files this process may keep open, and how many it may map into memory."""

from __future__ import annotations

import os
from pathlib import Path

from .errors import ConfigError

try:
    import resource
except ImportError:  # Windows
    resource = None

_SPARE = 128  # files that libraries open meanwhile: threads, sockets, modules


def require_open_files(count: int) -> None:
    """Make room for so many shards that stay open, by raising the soft limit as far as the hard limit allows.

    Raises:
        ConfigError: the hard limit is too low.
    """
    if resource is None:
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = count + _open_now() + _SPARE
    if soft == resource.RLIM_INFINITY or needed <= soft:
        return
    if hard != resource.RLIM_INFINITY and needed > hard:
        raise ConfigError(
            f"{count} shards would be open at the same time, and this process may open {hard} files: use --loader"
            " webdataset, which opens one at a time, or shards with more images (di-invert --shard-size), or ask for a"
            " higher limit (ulimit -Hn)"
        )
    resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))


def most_mappings() -> int:
    """Regions of memory that the kernel lets a process map (Linux: ``vm.max_map_count``, by default 65,530)."""
    try:
        return int(Path("/proc/sys/vm/max_map_count").read_text())
    except (OSError, ValueError):
        return 65530


def _open_now() -> int:
    try:
        return len(os.listdir("/dev/fd"))
    except OSError:
        return 0
