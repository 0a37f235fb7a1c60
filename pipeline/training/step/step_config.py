"""What the train step is made from."""

from dataclasses import dataclass, field

from pipeline.data.batches.batch_options import BatchOptions
from pipeline.data.data_config import ViewConfig
from pipeline.training.objectives.objective_options import ObjectiveOptions
from pipeline.training.optimizers.optim_config import OptimConfig


@dataclass(kw_only=True)
class StepConfig(ObjectiveOptions, BatchOptions):
    """One optimizer step: objective, batch, view and update."""

    data: ViewConfig
    optim: OptimConfig = field(default_factory=OptimConfig)
