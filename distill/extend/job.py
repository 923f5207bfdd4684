"""What ``di-extend`` works on: the shards, their teacher, the images of the new classes, and the wider network."""

from __future__ import annotations

import copy
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ...shared.core.device import pick_device
from ...shared.core.errors import ConfigError
from ...shared.data.labelled import open_labelled
from ...shared.data.labelled_set import LabelledSet
from ...shared.models.classifier import Classifier, load_model
from ...shared.models.students import check_trainable
from ...shared.shards.folder import ShardFolder
from ...shared.shards.loaders import make_loader
from ...shared.structure.folding import fold_batchnorms
from ..criterion import Criterion
from ..networks import load_teacher
from .batches import MixedLoader, batch_shares
from .config import ExtendConfig
from .criteria import ABD, DeepInversionLoss, JointCrossEntropy, LwFMC, balanced_weights
from .new_images import NewImages
from .tapped import linear_head
from .widening import widen


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ExtendJob:
    """The inputs of a run.

    Attributes:
        teacher: knows the old classes.
        class_names: of all classes, the old ones first, or empty.
        example_NCHW: one image of noise.
    """

    config: ExtendConfig
    shards: ShardFolder
    teacher: Classifier
    new: NewImages
    class_names: tuple[str, ...]
    device: torch.device
    example_NCHW: Tensor

    @classmethod
    def of(cls, config: ExtendConfig, given: Classifier | None = None) -> ExtendJob:
        """Open the shards, load their teacher, and read the new images.

        Args:
            given: the teacher in memory, in place of the one that the manifest names.

        Raises:
            ConfigError: one of them cannot be used.
        """
        device = pick_device(config.device)
        shards = ShardFolder.open(config.shards)
        teacher = load_teacher(config, shards.manifest.teacher, given, device)
        check_trainable(teacher.network, teacher.preprocessing, title=teacher.title)
        taken = teacher.preprocessing
        new = NewImages.read(config.new, taken, teacher.class_names)
        return cls(
            config=config,
            shards=shards,
            teacher=teacher,
            new=new,
            class_names=new.joint_names(teacher.class_names),
            device=device,
            example_NCHW=taken.noise(device),
        )

    @property
    def old(self) -> int:
        """Number of the old classes."""
        return self.teacher.num_classes

    @property
    def num_classes(self) -> int:
        """Number of all classes."""
        return self.old + self.new.num_classes

    @property
    def answering(self) -> nn.Module | None:
        """The old network, where the criterion asks it in each step."""
        return None if self.config.criterion == "ce" else self.teacher.network

    def real_images(self) -> LabelledSet | None:
        """The images of all classes to measure on; None without any."""
        if not self.config.eval:
            return None
        return open_labelled(self.config.eval, self.num_classes, self.class_names)

    def wider(self) -> tuple[nn.Module, tuple[str, ...]]:
        """A copy of the teacher with outputs for all classes, to be trained, and the names of the layers of its head.

        Raises:
            ConfigError: the head cannot be found.
        """
        network, head = widen(self.teacher.network, self.new.num_classes, self.example_NCHW)
        return network.requires_grad_(True), head

    def load_saved(self) -> nn.Module:
        """The network as it was saved, in eval mode."""
        network = copy.deepcopy(self.teacher.network) if self.teacher.architecture is None else None
        return load_model(str(self.config.out), network=network, code=self.config.code, device=self.device).network

    def loader(self, kind: str) -> MixedLoader:
        """The batches to train on."""
        config, size = self.config, self.config.training.batch_size
        count, _ = batch_shares(size, config.share)
        synthetic = None
        if count:
            synthetic = make_loader(
                self.shards, kind, batch_size=count, shuffle=True, seed=config.seed, device=self.device
            )
        return MixedLoader(
            synthetic,
            self.new,
            old=self.old,
            batch_size=size,
            share=config.share,
            seed=config.seed,
            device=self.device,
        )

    def criterion(self, head: tuple[str, ...], *, dry_run: bool = False) -> Criterion:
        """The loss that the configuration names, or chooses.

        Args:
            dry_run: do not read the shards; the loss may weigh the classes otherwise, and takes as long.

        Raises:
            ConfigError: it needs another kind of head.
        """
        name = self.config.criterion
        if name == "ce":
            return JointCrossEntropy()
        network = fold_batchnorms(self.teacher.network, self.example_NCHW)
        common = {"old": network, "num_old": self.old, "num_classes": self.num_classes}
        if name in ("auto", "abd"):
            linear = linear_head(network, head, self.example_NCHW)
            if linear is not None:
                return ABD(**common, head=linear, class_weights_J=self._class_weights(dry_run=dry_run))
            if name == "abd":
                raise ConfigError(
                    "--criterion abd needs a network that ends in one linear layer: take another criterion"
                )
            name = "deepinversion"
        return {"lwf-mc": LwFMC, "deepinversion": DeepInversionLoss}[name](**common)

    def _class_weights(self, *, dry_run: bool) -> Tensor:
        """Weights (J,) with which all classes count alike in the batches."""
        counts_K = torch.ones(self.old) if dry_run else self._answered()
        counts_L = torch.bincount(self.new.labels_N, minlength=self.new.num_classes)
        return balanced_weights(counts_K, counts_L, self.config.share)

    def _answered(self) -> Tensor:
        """For how many synthetic images the teacher answered each old class, (K,)."""
        counts_K = torch.zeros(self.old)
        for plan in self.shards.plans():
            for sample in self.shards.samples(plan):
                counts_K[int(sample.logits.argmax())] += 1
        return counts_K
