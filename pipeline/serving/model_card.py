"""`README.md` of an export: what the model is, where it comes from, and what it is good for.

Everything in it comes from the run: its archived configuration, its starts (`run.json`) and its
log (`metrics.jsonl`).
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from groundwork import command_line
from pipeline.recipe.run_config import PretrainConfig
from pipeline.serving.description import KERAS_FILE, Description
from pipeline.serving.request_images import MAX_PIXELS

LISTED_CLASSES = 20
PLAIN = " ,;.'-()+%"
"""Punctuation that means nothing to Markdown inside a line."""


@dataclass(frozen=True)
class RunFacts:
    """What is known of a run.

    Attributes:
        config: resolved.
        step: of the checkpoint that was exported.
        starts: entries of `run.json`, the latest last; empty: not recorded.
        rows: of `metrics.jsonl`, in order.
    """

    config: PretrainConfig
    step: int
    starts: Sequence[Mapping[str, Any]]
    rows: Sequence[Mapping[str, float]]

    def latest(self, name: str) -> float | None:
        """The last value of a scalar, up to the exported step."""
        values = [row[name] for row in self.rows if name in row and row["step"] <= self.step]
        return values[-1] if values else None


def model_card(facts: RunFacts, description: Description) -> str:
    """The card as Markdown."""
    sections = {
        "Use": _use(facts, description),
        "Results": _results(facts),
        "Data": _data(facts, description),
        "Compute": _compute(facts),
        "Limits": _limits(facts),
        "History": history(facts.starts, facts.step),
        "Recipe": _recipe(facts),
    }
    height, width = description.image_size
    title = (
        f"# {description.variant} at {height}×{width}, trained on "
        f"{escaped(str(facts.config.data.source))}\n\n"
        f"A {description.variant} image classifier with {len(description.class_names)} classes, "
        f"step {facts.step} of its training. SHA-256 of the SavedModel: `{description.fingerprint}`"
    )
    parts = [title, *(f"## {name}\n\n{text}" for name, text in sections.items())]
    return "\n\n".join(parts) + "\n"


def escaped(text: str) -> str:
    """Text from a dataset as Markdown that shows it as it is: neither Markdown nor HTML in it."""
    line = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return re.sub(r"([!-/:-@\[-`{-~])", _as_reference, line)


def _as_reference(match: re.Match[str]) -> str:
    return match[0] if match[0] in PLAIN else f"&#{ord(match[0])};"


def code(text: str) -> str:
    """Text as inline code that nothing in it can end."""
    line = " ".join(text.split())
    fence = "`" * (1 + _longest_run(line))
    pad = " " * ("`" in line)
    return f"{fence}{pad}{line}{pad}{fence}"


def _longest_run(text: str) -> int:
    """Length of the longest run of backquotes."""
    return max(map(len, re.findall("`+", text)), default=0)


def _recipe(facts: RunFacts) -> str:
    text = command_line.to_yaml(facts.config)
    fence = "`" * max(3, 1 + _longest_run(text))
    return f"{fence}yaml\n{text}{fence}"


def _use(facts: RunFacts, description: Description) -> str:
    return f"""The SavedModel takes encoded images (JPEG, PNG, GIF, BMP, WebP; of an animation the first frame; what
is transparent on white) of up to {MAX_PIXELS // 1_000_000} megapixels and needs TensorFlow alone:

```python
import tensorflow as tf

model = tf.saved_model.load("this/folder")
answer = model.signatures["serve"](image_bytes=tf.constant([open("photo.jpg", "rb").read()]))
answer["valid"]  # [1]: whether the image could be read; if not, all else of it is zeros
answer["probabilities"]  # [1, {len(description.class_names)}], {description.activation}; classes in the order of export.json
features = model.signatures["features"](image_bytes=...)["features"]
```

`{KERAS_FILE}` is the same model for Keras, without the preprocessing, for fine-tuning; it needs
`vit_keras`. With this project: `python -m pipeline.classify --model this/folder photo.jpg`, and
`python -m pipeline.transfer --model this/folder --data.source DATASET`. To serve it: put this
folder into a version folder of TensorFlow Serving, such as `models/vit/1`."""  # noqa: E501


def _results(facts: RunFacts) -> str:
    names = {
        "eval/accuracy": "accuracy",
        "eval/accuracy_top5": "top-5 accuracy",
        "eval/mean_average_precision": "mean average precision",
        "eval/f1": "F1 of all labels, from a probability of 0.5 on",
        "eval/best_f1": "mean F1 of the classes, each at its best threshold on these images",
        "eval/loss": "loss",
        "eval/examples": "images",
    }
    found = {label: facts.latest(name) for name, label in names.items()}
    shown = {label: value for label, value in found.items() if value is not None}
    if not shown:
        return "The run has no evaluation."
    rows = [f"| {label} | {_number(label, value)} |" for label, value in shown.items()]
    data = facts.config.data
    split = f"split {code(str(data.eval_split))}"
    if data.held_out is not None:
        split = f"the {data.held_out:.0%} of each class that were held out"
    return "\n".join([f"On {split}, each image once:", "", "| | |", "|---|---:|", *rows])


def _number(label: str, value: float) -> str:
    if "accuracy" in label or "precision" in label or "F1" in label:
        return f"{value:.2%}"
    return f"{value:,.0f}" if label == "images" else f"{value:.4f}"


def _data(facts: RunFacts, description: Description) -> str:
    names = description.class_names
    listed = ", ".join(map(escaped, names[:LISTED_CLASSES]))
    more = f", … ({len(names)} in all; see `export.json`)" if len(names) > LISTED_CLASSES else ""
    lines = [f"- Classes: {listed}{more}"]
    if facts.starts:
        dataset = facts.starts[-1]["dataset"]
        images = ", ".join(f"{n:,} of {code(split)}" for split, n in dataset["images"].items())
        lines = [
            f"- Dataset: {code(str(dataset['source']))}",
            f"- Images: {images}",
            f"- SHA-256 of the dataset's description: `{dataset['fingerprint']}`",
            *lines,
        ]
    return "\n".join(lines)


def _compute(facts: RunFacts) -> str:
    if not facts.starts:
        return "Not recorded."
    start = facts.starts[-1]
    images = facts.step * start["batch_size"]
    flops = images * start["training_flops_per_image"]
    lines = [
        f"- Parameters: {start['parameters']:,}",
        f"- Images seen: {images:,} ({facts.step:,} steps of {start['batch_size']:,})",
        f"- Training FLOPs of the model, forward and backward: {flops:.3g}",
        f"- Devices: {start['devices']}, {start['precision']}",
    ]
    hours = facts.latest("speed/device_hours")
    if hours is not None:
        lines.append(f"- Device-hours, evaluation included: {hours:.3g}")
    mfu = facts.latest("speed/mfu")
    if mfu is not None:
        lines.append(f"- Model FLOPs utilization at the end: {mfu:.1%}")
    return "\n".join(lines)


def _limits(facts: RunFacts) -> str:
    lines = [
        "- It knows the classes above and no others"
        + (
            "."
            if facts.config.multi_label
            else ": an image of none of them gets one of them all the same."
        ),
        "- The scores above are of images like those it was trained on. On others (other cameras, "
        "places, drawings) it is not known: evaluate it on yours before relying on it.",
        "- What is over- or under-represented in the training images is so in its answers. Its "
        "probabilities were not calibrated.",
    ]
    if not facts.config.reads_labels:
        lines.insert(
            0,
            "- It was trained without labels: its head is zero, every class is equally probable. "
            "Use its features, or fine-tune it.",
        )
    return "\n".join(lines)


def history(starts: Sequence[Mapping[str, Any]], step: int) -> str:
    """The starts that `step` comes from as Markdown: steps, options that changed, code.

    Args:
        starts: entries of `run.json`, the latest last.
        step: of the checkpoint that was exported.
    """
    if not starts:
        return "Not recorded."
    lines = []
    before: dict[str, Any] = {}
    starts = [start for start in starts if start["start_step"] <= step]
    ends = [start["start_step"] for start in starts[1:]]
    for start, end in zip(starts, [*ends, step], strict=True):
        made_by = start["code"]
        commit = f"commit `{made_by['commit']}`" if made_by["commit"] else "no git checkout"
        # a start of an earlier version recorded neither
        options = _flat(start.get("options", {}))
        aim = f" of {start['total_steps']:,}" if "total_steps" in start else ""
        lines.append(
            f"- steps {start['start_step']:,} to {end:,}{aim}: vit-keras-pipeline "
            f"{made_by['version'] or '(not installed)'}, {commit}"
            f"{' with local changes' * made_by['modified']}, TensorFlow {start['tensorflow']}, "
            f"Keras {start['keras']}"
        )
        if before:
            lines += _changed(before, options)
        before = options or before
    return "\n".join(lines)


def _flat(options: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Options by the names that they have on the command line."""
    flat: dict[str, Any] = {}
    for name, value in options.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{name}.")
        else:
            flat[prefix + name] = value
    return flat


def _changed(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """A line for each option that a start had otherwise than the one before it."""
    return [
        f"  - {code(f'--{name}')} {code(json.dumps(after.get(name), ensure_ascii=False))}, before "
        f"{code(json.dumps(before.get(name), ensure_ascii=False))}"
        for name in sorted(before.keys() | after.keys())
        if after and before.get(name) != after.get(name)
    ]
