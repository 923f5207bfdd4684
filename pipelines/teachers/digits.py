"""Train the quickstart's teacher: ``python -m dreamdistill.pipelines.teachers.digits OUT.safetensors``.

With ``--classes 0-4`` it learns these digits alone: a teacher that new classes can be added to.

It learns from the first 1,347 of scikit-learn's 1,797 handwritten digits. The other 450 are used to print the accuracy,
and for ``--eval digits``.

The file that ships, shared/weights/digits_cnn.safetensors, was made with seed 0 by this script.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import safetensors.torch
import torch
from torch.nn import functional as F
from torch.optim.lr_scheduler import CosineAnnealingLR

from ...shared.core.files import write_bytes
from ...shared.data.accuracy import top1
from ...shared.data.digit_set import load_digits
from ...shared.data.labelled import open_labelled
from ...shared.models.networks import NETWORKS
from ...shared.models.preprocessing import Preprocessing

SEED, EPOCHS, BATCH, LR, WEIGHT_DECAY = 0, 60, 64, 0.1, 5e-4


def train(seed: int, *, first: int = 0, last: int = 9) -> torch.nn.Module:
    """The trained network: SGD with a cosine schedule, images shifted by up to one pixel.

    Args:
        first, last: the classes that it learns, 0 to 9.
    """
    torch.manual_seed(seed)
    torch.set_num_threads(1)  # another number of threads adds up in another order
    network = NETWORKS["digits_cnn"].build(num_classes=last - first + 1, in_channels=1)
    pixels_NHW, labels_N = load_digits(test=False)
    chosen_N = (labels_N >= first) & (labels_N <= last)
    pixels_NHW, labels_N = pixels_NHW[chosen_N], labels_N[chosen_N] - first
    x_NCHW = preprocessing().normalize(pixels_NHW[:, None])
    optimizer = torch.optim.SGD(network.parameters(), LR, momentum=0.9, weight_decay=WEIGHT_DECAY, nesterov=True)
    scheduler = CosineAnnealingLR(optimizer, EPOCHS)
    for _ in range(EPOCHS):
        for index in torch.randperm(len(x_NCHW)).split(BATCH):
            down, right = torch.randint(0, 3, (2,)).tolist()
            batch = F.pad(x_NCHW[index], (1, 1, 1, 1), mode="replicate")[:, :, down : down + 8, right : right + 8]
            loss = F.cross_entropy(network(batch), labels_N[index])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        scheduler.step()
    return network.eval()


def preprocessing() -> Preprocessing:
    known = NETWORKS["digits_cnn"]
    return Preprocessing(mean=known.mean, std=known.std, image_size=known.image_size)


def save(path: Path, network: torch.nn.Module, *, seed: int, accuracy: float) -> None:
    """Write the weights as a safetensors file, with the seed and the accuracy in its header."""
    state = {key: value.contiguous() for key, value in network.state_dict().items()}
    write_bytes(path, safetensors.torch.save(state, {"seed": str(seed), "top1": f"{accuracy:.4f}"}))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("out", type=Path, help="weights file to write")
    parser.add_argument("--classes", default="0-9", metavar="FIRST-LAST", help="digits to learn [default: 0-9]")
    parser.add_argument("--seed", type=int, default=SEED)
    asked = parser.parse_args()
    first, last = map(int, asked.classes.split("-"))
    network = train(asked.seed, first=first, last=last)
    images = open_labelled(f"digits:{first}-{last}", last - first + 1)
    accuracy = top1(network, images, preprocessing())
    save(asked.out, network, seed=asked.seed, accuracy=accuracy)
    print(f"top-1 on the {images.count} test digits: {accuracy:.4f}")


if __name__ == "__main__":
    main()
