"""The check of a shard folder before its images are used, with a progress bar where it takes long."""

from __future__ import annotations

from ..shards.folder import ShardFolder
from ..shards.verification import check_indexes, verify_once
from .progress import ProgressBar

LONG = 2 * 2**30  # bytes; at about 500 MB a second, less takes a few seconds


def check_shards(shards: ShardFolder, *, verify: bool) -> None:
    """Check the shards.

    Args:
        verify: read every byte of those that were not checked before; else the indexes alone.

    Raises:
        DreamError: there is damage.
    """
    if not verify:
        check_indexes(shards)
    elif sum(record.bytes for record in shards.records.values()) < LONG:
        verify_once(shards)
    else:
        with ProgressBar("verify", total=len(shards.records), unit="shards") as bar:
            verify_once(shards, bar.update)
