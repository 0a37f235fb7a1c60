"""Options of the loop: what it writes, how often, and how many steps it takes at once."""

from dataclasses import dataclass, field

from pipeline.training.loop.eval_config import EvalConfig
from pipeline.training.state.checkpoint_config import CheckpointConfig


@dataclass
class LogConfig:
    """What is written while training."""

    every_steps: int = 50
    """Steps between rows in TensorBoard and metrics.jsonl."""
    images: int = 16
    """Augmented training images shown in TensorBoard at the start, with the names of their classes;
    before MixUp and CutMix, which the accelerator does. 0: none."""
    pictures: bool = True
    """TensorBoard, at each evaluation: embedding filters, similarity of position embeddings,
    confusion matrix (over 100 classes: the most frequent confusions as text)."""
    peak_tflops: float | None = None
    """Peak TFLOP/s of one device, to which MFU relates; null: the data sheet's dense bfloat16 where
    the device is known, otherwise no MFU."""
    profile_steps: tuple[int, int] | None = None
    """First and last step of a profile for TensorBoard, such as [20, 25]; null: none."""


@dataclass(kw_only=True)
class LoopOptions:
    """Logging, evaluation and checkpoints between the steps."""

    checkpoint: CheckpointConfig = field(default_factory=CheckpointConfig)
    log: LogConfig = field(default_factory=LogConfig)
    steps_per_loop: int = 1
    """Steps that the accelerator does before the host has its turn; a log row, an evaluation, a
    checkpoint and a stop wait for the end of such a loop, which is shortened to meet them. The
    results are the same; on a TPU, or with short steps, it is faster. With more than 1 the time
    spent waiting for input is not measured."""
    stall_timeout: float | None = None
    """Seconds without a step, or a batch of an evaluation, after which the process says where it
    stands and ends with exit status 75, on which a supervisor starts all workers again. Compiling
    and `steps_per_loop` steps have to be shorter. null: never."""
    eval_every_steps: int | None = None
    """Steps between evaluations; null: only at the end."""
    evals: list[EvalConfig] = field(default_factory=list)
    """More evaluations while training than that of `data.eval_split`: of other splits or datasets,
    with other labels, few-shot or by nearest neighbors, such as [{name: minival, split:
    'train[99%:]'}, {name: pets, kind: few_shot, source: oxford_iiit_pet}]."""
    patience: int | None = None
    """Early stop: end after so many evaluations in a row that were not better than the best by
    `checkpoint.keep_best`; null: train to the last step."""
