"""How far a network tells synthetic images from real ones of the same classes: the known failure of replay.

Where "synthetic" becomes a class of its own, what is learned of synthetic images does not hold for real ones.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import partial

import torch
from torch import Tensor, nn

from ...shared.data.images import decode_image
from ...shared.data.labelled import labelled_batches
from ...shared.data.labelled_set import LabelledSet
from ...shared.models.features import FeatureCollector
from ...shared.models.preprocessing import Preprocessing
from ...shared.shards.folder import ShardFolder

IMAGES = 512  # of each kind, at most
FEWEST = 20  # of each kind: fewer tell nothing
READ = 64  # images in a forward pass
RIDGE = 1e-1  # of the mean variance of a feature

Images = Iterable[tuple[Tensor, int]]  # pixels uint8 (C, H, W), and the class


class SeparationSets:
    """As many synthetic as real images of each old class, on which several networks can be measured.

    Args:
        real: images of all classes, the old ones first.
        old: number of the old classes.
    """

    def __init__(self, shards: ShardFolder, real: LabelledSet, *, old: int) -> None:
        self.preprocessing = Preprocessing.of(shards.manifest.teacher)
        most = max(1, IMAGES // old)
        kinds = (
            _first_of_each(_stored(shards, self.preprocessing.channels), old, most),
            _first_of_each(_read(real, self.preprocessing), old, most),
        )
        same = [min(map(len, both)) for both in zip(*kinds, strict=True)]
        # Every second image of a class fits the classifier, and the others measure it.
        self.synthetic, self.real = (
            [pixels for own, count in zip(kind, same, strict=True) for pixels in own[:count]] for kind in kinds
        )

    def measure(self, network: nn.Module) -> float | None:
        """Share of held-out images that a ridge classifier of the network's features assigns rightly to "synthetic" or
        "real", 0 to 1; about 0.5 where the network does not tell them apart. None for too few images.
        """
        if len(self.synthetic) < FEWEST:
            return None
        return separation(self._features(network, self.synthetic), self._features(network, self.real))

    def _features(self, network: nn.Module, pixels: list[Tensor]) -> Tensor:
        like = next(network.parameters())
        with FeatureCollector(network.eval(), statistics=False) as collector:
            for part in torch.stack(pixels).split(READ):
                collector.add(self.preprocessing.normalize(part.to(like.device)))
        return collector.features().features


def separation(one_ND: Tensor, other_ND: Tensor) -> float:
    """Held-out accuracy of a linear classifier of two sets of features, 0 to 1, fitted by ridge regression to -1 and 1.

    Rows with even numbers fit it; those with odd numbers measure it.
    """
    fit_ND = torch.cat([one_ND[::2], other_ND[::2]]).double()
    mean_D, std_D = fit_ND.mean(0), fit_ND.std(0).clamp_min(1e-9)
    sides_N = torch.cat([-torch.ones(len(one_ND[::2])), torch.ones(len(other_ND[::2]))]).double()
    x_ND = (fit_ND - mean_D) / std_D
    gram_DD = x_ND.T @ x_ND + RIDGE * len(x_ND) * torch.eye(x_ND.shape[1], dtype=torch.float64)
    weight_D = torch.linalg.solve(gram_DD, x_ND.T @ (sides_N - sides_N.mean()))
    right = [
        sign * ((rows_ND[1::2].double() - mean_D) / std_D @ weight_D + sides_N.mean()) > 0
        for sign, rows_ND in ((-1, one_ND), (1, other_ND))
    ]
    return float(torch.cat(right).double().mean())


def _first_of_each(images: Images, old: int, most: int) -> list[list[Tensor]]:
    """The first ``most`` images of each old class."""
    found: list[list[Tensor]] = [[] for _ in range(old)]
    missing = old
    for pixels, label in images:
        if label < old and len(found[label]) < most:
            found[label].append(pixels)
            missing -= len(found[label]) == most
            if missing == 0:
                break
    return found


def _stored(shards: ShardFolder, channels: int) -> Iterator[tuple[Tensor, int]]:
    """Synthetic images with the class that the teacher answered."""
    for pixels, sample in shards.decoded(partial(decode_image, channels=channels)):
        yield pixels, int(sample.logits.argmax())


def _read(real: LabelledSet, preprocessing: Preprocessing) -> Iterator[tuple[Tensor, int]]:
    for pixels_NCHW, labels_N in labelled_batches(real, preprocessing, READ):
        yield from zip(pixels_NCHW, labels_N.tolist(), strict=True)
