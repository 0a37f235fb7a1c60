"""Report folders without a model: results and predictions that a test chooses."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from pipeline.evaluation.protocols.scores import score
from pipeline.evaluation.reports.transfer_result import (
    Analysis,
    DataFacts,
    ProtocolResult,
    SplitFacts,
    TransferResult,
)


def few_shot_result(scores, test="same", test_examples=400):
    """A result of few_shot; `scores` of the model by setting."""
    return TransferResult(
        protocols={
            "few_shot": ProtocolResult("Few-shot", "images per class", {"model": dict(scores)})
        },
        model={"folder": "m", "fingerprint": "f", "variant": "B/16", "image_size": [16, 16]},
        data=DataFacts(
            identity={"source": "d", "version": "d/1.0.0"},
            class_names=["a", "b", "c", "d"],
            train_images_per_class=None,
            splits={"test": SplitFacts("test", test_examples, test)},
            extra_tests={},
        ),
        config={},
        versions={},
        notes=[],
        seconds=1.0,
        analysis=Analysis("few_shot", "5", 0.5, 0.5, 0.5, None, [], []),
    )


def write_report(folder: Path, labels, predictions, test="same", shots="10") -> str:
    """A report folder whose model predicted so, int `[seeds, examples]`."""
    folder.mkdir()
    accuracies = [float(np.mean(one == labels)) for one in predictions]
    result = few_shot_result({shots: score(accuracies, {})}, test, len(labels))
    (folder / "result.json").write_text(result.to_json())
    np.savez(folder / "predictions.npz", label=labels, few_shot=predictions)
    return str(folder)
