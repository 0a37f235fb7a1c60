"""The contenders of time_to_accuracy.py: each makes a model, and trains and tests it.

All see Fashion-MNIST's images of 28×28 pixels, three equal channels, in [-1, 1].
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

CLASSES = 10
SIZE = 28
LAYERS, WIDTH, MLP, HEADS, PATCH = 4, 128, 512, 4, 4
RATE, WARMUP, DECAY, CLIP = 2e-3, 200, 0.05, 1.0
"""Of "ours, AdamW", and with --equal of all: cosine decay to 0, half of the images mirrored."""


@dataclass(frozen=True)
class Settings:
    """What a contender is given."""

    data: str
    train: str
    test: str
    batch: int
    steps: int
    seed: int
    equal: bool


class Contender(Protocol):
    """A model in training."""

    parameters: int

    def train(self, steps: int) -> None:
        """Train so many steps, and wait for them."""

    def accuracy(self) -> float:
        """Share of the test split that is classified right."""


class Ours:
    """This project: its input, train step and evaluation, from the dataset folder."""

    def __init__(self, settings: Settings, model: dict[str, Any], **optim: Any):
        import tensorflow as tf

        from pipeline.data.batches.distributed_batches import (
            distributed_eval_batches,
            distributed_train_batches,
            training_order,
        )
        from pipeline.data.data_config import DataConfig
        from pipeline.data.dataset.source import open_source
        from pipeline.process.tensorflow_startup import import_tensorflow
        from pipeline.recipe.check_run_config import check_run_config
        from pipeline.recipe.run_config import PretrainConfig
        from pipeline.training.loop.evaluate import make_evaluate
        from pipeline.training.model.build_model import build_model
        from pipeline.training.model.model_config import ModelConfig
        from pipeline.training.optimizers.optim_config import OptimConfig
        from pipeline.training.state.train_state import TrainState
        from pipeline.training.step.train_step import make_train_step

        import_tensorflow()
        update = {"peak_lr": RATE, "warmup_steps": WARMUP, "weight_decay": DECAY, **optim}
        config = PretrainConfig(
            data=DataConfig(source=settings.data, image_size=SIZE, crop="resize"),
            workdir="none",
            model=ModelConfig(**model),
            optim=OptimConfig(clip_norm=CLIP, **update),
            batch_size=settings.batch,
            steps=settings.steps,
            seed=settings.seed,
        )
        check_run_config(config)
        source = open_source(settings.data)
        train, test = source.split(settings.train), source.split(settings.test)
        strategy = tf.distribute.get_strategy()
        built = build_model(config.model, (SIZE, SIZE), CLASSES, seed=settings.seed)
        state = TrainState(built, config.optim, seed=settings.seed)
        self._step = make_train_step(
            strategy, state, config, total_steps=settings.steps, jit_compile=True
        )
        order = training_order(config, config.data, train, settings.seed)
        self._batches = iter(distributed_train_batches(strategy, order, train, config.data, 0))
        self._evaluate = make_evaluate(strategy, state, config, test.num_examples, jit_compile=True)
        self._test = distributed_eval_batches(strategy, test, config.data, 500)
        self.parameters = built.count_params()

    def train(self, steps: int) -> None:
        """As `Contender`."""
        for _ in range(steps):
            metrics = self._step(*next(self._batches))
        metrics["loss"].numpy()

    def accuracy(self) -> float:
        """As `Contender`."""
        return self._evaluate(self._test).metrics["accuracy"]


VIT = {
    "variant": "Ti/16",
    "num_layers": LAYERS,
    "width": WIDTH,
    "mlp_dim": MLP,
    "num_heads": HEADS,
    "patch_size": PATCH,
}
RESNET = {"variant": "BiT-R50x1", "units": [1, 2], "width_factor": 1.0}


class KerasFit:
    """keras-hub's ViT under `fit`, by AdamW as Keras has it, on images in memory."""

    def __init__(self, settings: Settings):
        import keras
        import keras_hub

        keras.utils.set_random_seed(settings.seed)
        backbone = keras_hub.models.ViTBackbone(
            image_shape=(SIZE, SIZE, 3),
            patch_size=PATCH,
            num_layers=LAYERS,
            num_heads=HEADS,
            hidden_dim=WIDTH,
            mlp_dim=MLP,
        )
        self._model = keras_hub.models.ViTImageClassifier(backbone, CLASSES, pooling="token")
        optimizer = keras.optimizers.AdamW()
        if settings.equal:
            rate = keras.optimizers.schedules.CosineDecay(
                0.0, settings.steps - WARMUP, warmup_target=RATE, warmup_steps=WARMUP
            )
            optimizer = keras.optimizers.AdamW(rate, weight_decay=DECAY, global_clipnorm=CLIP)
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        self._model.compile(optimizer, loss, metrics=["accuracy"], jit_compile=True)
        self._settings = settings
        self._images, self._labels = in_memory(settings.data, settings.train)
        self._generator = np.random.default_rng(settings.seed)
        self._order = np.zeros(0, np.int64)
        self._test = in_memory(settings.data, settings.test)
        self.parameters = self._model.count_params()

    def train(self, steps: int) -> None:
        """As `Contender`."""
        batch = self._settings.batch
        while len(self._order) < steps * batch:
            more = self._generator.permutation(len(self._labels))
            self._order = np.concatenate([self._order, more])
        chosen, self._order = np.split(self._order, [steps * batch])
        images = self._images[chosen]
        if self._settings.equal:
            mirrored = self._generator.random(len(images)) < 0.5
            images[mirrored] = images[mirrored, :, ::-1]
        self._model.fit(images, self._labels[chosen], batch, shuffle=False, verbose=0)

    def accuracy(self) -> float:
        """As `Contender`."""
        return self._model.evaluate(*self._test, batch_size=500, verbose=0, return_dict=True)[
            "accuracy"
        ]


class TorchLoop:
    """A loop in PyTorch as timm's: AdamW without decay of biases, warm-up and cosine decay.

    Its own defaults are as timm's: a rate of 5e-4, decay 0.05, label smoothing 0.1, mirrored and
    shifted images.
    """

    def __init__(self, settings: Settings):
        import torch

        torch.manual_seed(settings.seed)
        self._torch, self._settings = torch, settings
        self._model = torch_vit(torch)
        rate = RATE if settings.equal else 5e-4
        named = list(self._model.named_parameters())
        kernels = [value for _, value in named if value.ndim > 1]
        others = [value for _, value in named if value.ndim <= 1]
        groups = [{"params": kernels, "weight_decay": DECAY}, {"params": others, "weight_decay": 0}]
        self._optimizer = torch.optim.AdamW(groups, rate)
        self._schedule = torch.optim.lr_scheduler.LambdaLR(
            self._optimizer, lambda step: warm_up_and_cosine(step, settings.steps)
        )
        smoothing = 0.0 if settings.equal else 0.1
        self._loss = torch.nn.CrossEntropyLoss(label_smoothing=smoothing)
        images, labels = in_memory(settings.data, settings.train)
        self._images, self._labels = to_torch(torch, images), torch.from_numpy(labels)
        self._order = self._batches(len(labels))
        images, labels = in_memory(settings.data, settings.test)
        self._test = to_torch(torch, images), torch.from_numpy(labels)
        self.parameters = sum(value.numel() for _, value in named)

    def train(self, steps: int) -> None:
        """As `Contender`."""
        self._model.train()
        for _ in range(steps):
            index = next(self._order)
            loss = self._loss(self._model(self._view(self._images[index])), self._labels[index])
            self._optimizer.zero_grad(set_to_none=True)
            loss.backward()
            if self._settings.equal:
                self._torch.nn.utils.clip_grad_norm_(self._model.parameters(), CLIP)
            self._optimizer.step()
            self._schedule.step()

    def accuracy(self) -> float:
        """As `Contender`."""
        self._model.eval()
        images, labels = self._test
        with self._torch.no_grad():
            answers = [self._model(part).argmax(-1) for part in images.split(500)]
        return (self._torch.cat(answers) == labels).float().mean().item()

    def _batches(self, count: int) -> Iterator[Any]:
        while True:
            order = self._torch.randperm(count)
            yield from order[: count - count % self._settings.batch].split(self._settings.batch)

    def _view(self, images: Any) -> Any:
        torch = self._torch
        mirrored = torch.rand(len(images)) < 0.5
        images = torch.where(mirrored[:, None, None, None], images.flip(-1), images)
        if self._settings.equal:
            return images
        padded = torch.nn.functional.pad(images, (2, 2, 2, 2), mode="reflect")
        top, left = torch.randint(0, 5, (2,)).tolist()
        return padded[..., top : top + SIZE, left : left + SIZE]


def torch_vit(torch: Any) -> Any:
    """A ViT of PyTorch's own encoder layers, normalized first, with a class token."""
    nn = torch.nn

    class ViT(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.patches = nn.Conv2d(3, WIDTH, PATCH, PATCH)
            self.token = nn.Parameter(torch.zeros(1, 1, WIDTH))
            self.positions = nn.Parameter(0.02 * torch.randn(1, 1 + (SIZE // PATCH) ** 2, WIDTH))
            layer = nn.TransformerEncoderLayer(
                WIDTH, HEADS, MLP, 0.0, "gelu", batch_first=True, norm_first=True
            )
            self.blocks = nn.TransformerEncoder(layer, LAYERS, nn.LayerNorm(WIDTH), False)
            self.head = nn.Linear(WIDTH, CLASSES)

        def forward(self, images: Any) -> Any:
            x = self.patches(images).flatten(2).transpose(1, 2)
            x = torch.cat([self.token.expand(len(x), -1, -1), x], 1) + self.positions
            return self.head(self.blocks(x)[:, 0])

    return ViT()


def warm_up_and_cosine(step: int, steps: int) -> float:
    """Share of the rate after `step` steps."""
    if step < WARMUP:
        return step / WARMUP
    return (1 + math.cos(math.pi * (step - WARMUP) / max(1, steps - WARMUP))) / 2


def in_memory(folder: str, split: str) -> tuple[np.ndarray, np.ndarray]:
    """Images, float32 `[n, 28, 28, 3]` in [-1, 1], and labels, int64, of a dataset folder."""
    from pipeline.data.batches.eval_batches import eval_batches
    from pipeline.data.dataset.source import open_source
    from pipeline.data.images.preprocess import EvalPreprocess

    opened = open_source(folder).split(split)
    parts = list(eval_batches(opened, EvalPreprocess((SIZE, SIZE)), 500).as_numpy_iterator())
    images, labels, mask = (np.concatenate(column) for column in zip(*parts, strict=True))
    return images[mask == 1], labels[mask == 1]


def to_torch(torch: Any, images: np.ndarray) -> Any:
    """Images with their channels first."""
    return torch.from_numpy(np.ascontiguousarray(images.transpose(0, 3, 1, 2)))


CONTENDERS: dict[str, Callable[[Settings], Contender]] = {
    "ours, Muon": lambda settings: Ours(settings, VIT, optimizer="keras.Muon"),
    "ours, AdamW": lambda settings: Ours(settings, VIT),
    "ours, ResNet": lambda settings: Ours(settings, RESNET),
    "Keras fit, keras-hub": KerasFit,
    "PyTorch, as timm": TorchLoop,
}
