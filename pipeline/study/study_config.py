"""Typed configuration of a compute study. Imports nothing heavy, so that --help is quick.

Recipes are plain `dict`, hence the ignored complaints: of `dict[str, Any]` jsonargparse would turn
the text "true" into a bool. They are checked as the options of the commands that they are for.
"""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class Member:
    """One model of the grid."""

    name: str
    """Names its folder and its point in the figure; letters, digits, and any of . _ + - within."""
    family: str
    """The curve that it lies on, such as ViT, Hybrid or ResNet."""
    recipe: dict = field(default_factory=dict)  # type: ignore[type-arg]
    """What its recipe has otherwise than `base`: any options of `python -m pipeline.pretrain`."""


@dataclass
class Downstream:
    """A dataset that every member is transferred to."""

    name: str
    """Short, for tables."""
    data: dict  # type: ignore[type-arg]
    """`data` options of `python -m pipeline.transfer`: source, splits, keys."""
    prepare: str | None = None
    """Module and arguments of the job that makes `data.source` where it does not exist yet."""
    obtain: str | None = None
    """How a user gets the data, for the message where it is absent."""


@dataclass
class Assumptions:
    """What `plan` reckons with before anything has been run."""

    num_classes: int
    """Classes of the pre-training set."""
    train_images: int
    """Images of its training split."""
    device: str
    """What hours are of, such as TPUv3 core."""
    peak_tflops: float
    """Peak of one such device, in 1e12 FLOP/s."""
    utilization: float
    """Share of the peak that training reaches, in (0, 1]."""


@dataclass
class StudyConfig:
    """Pre-train a grid of models, evaluate the transfer of each, and draw accuracy against compute.

    As figure 5 of the ViT paper. A member that is finished is kept, one that was stopped goes on;
    members may be added at any time.
    """

    output: str
    """Folder of the study: members/NAME of each member, results.json, table.md, figure.png,
    study.html. Local, or shared by all machines that take part."""
    base: dict  # type: ignore[type-arg]
    """Recipe that all members start from: options of `python -m pipeline.pretrain`, without
    workdir."""
    members: list[Member]
    """The grid. The family of the first one is what the others are compared with."""
    downstream: list[Downstream]
    """Datasets to transfer to. One that is absent is listed with how to get it, and the study goes
    on without."""
    assumptions: Assumptions
    """What `plan` reckons with."""
    transfer: dict = field(default_factory=dict)  # type: ignore[type-arg]
    """Options of `python -m pipeline.transfer`, but for model, data and output."""
    score: str = "few_shot/5"
    """Accuracy that the figure shows, as PROTOCOL/SETTING, the mean over the datasets: such as
    few_shot/5, linear_probe/linear_probe, knn/20 or fine_tune/paper."""
    member: str | None = None
    """Take only the members k with k % n = i, given as i/n: 0/2 and 1/2 share the work between two
    machines."""
    retrain: list[str] = field(default_factory=list)
    """Members to delete and train anew, such as those whose recipe was changed."""
    plan: bool = False
    """Print FLOPs, hours and storage of each member, and run nothing."""
