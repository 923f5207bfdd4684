"""What the agreement of a set of images means in words, and why it may be low."""

from __future__ import annotations

from collections.abc import Collection

from .records import CommitRecord, mean_of

HEALTHY = 0.95  # agreement that a sound teacher and enough steps give (docs/guide.md)
LOW = 0.8
MUCH_CLIPPED = 0.05  # share of pixel values
UNREACHED = 1.0  # class loss at the end of the optimisation, in nats: the teacher gives the class less than 37 %
WORSE = 0.3  # class loss of the stored images beyond that in the loop


def verdict(records: Collection[CommitRecord]) -> str:
    """One sentence about the agreement of the images of some shards, one shard or more."""
    if any("class" not in record.losses for record in records):
        return "not to be judged: not all images were asked to show a class"
    agreement = mean_of(records, "agreement")
    if agreement >= HEALTHY:
        return "high, as it should be: the teacher sees in nearly every image the class that it is to show"
    images = sum(record.count for record in records)
    optimised = sum(record.losses["class"] * record.count for record in records) / images
    stored, clipped = mean_of(records, "class_loss"), mean_of(records, "clipped")
    return f"{'rather low' if agreement >= LOW else 'low'}: {_reason(optimised, stored, clipped)}"


def _reason(optimised: float, stored: float, clipped: float) -> str:
    """Why an agreement may be low, by the class loss in the loop and after storing, and the share of clipped values."""
    losses = f"the class loss was {optimised:.2g} in the loop and is {stored:.2g} for the stored images"
    if optimised > UNREACHED:
        return (
            f"the class loss was still {optimised:.2g} at the end of the optimisation; give more --steps, and examine"
            " the teacher with di-invert --check"
        )
    if stored > optimised + WORSE and clipped > MUCH_CLIPPED:
        return f"{losses}, since {clipped:.0%} of the pixel values lay outside of the range of pixels; add --clip"
    if stored > optimised + WORSE:
        return (
            f"{losses}, so the images as they are stored differ from what was optimised; look at them with di-shards"
            " gallery, and leave out --flip or a shift that changes the class, or add --format png"
        )
    return f"{losses}; more --steps may raise it"
