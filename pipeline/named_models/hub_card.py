"""`README.md` of a repository on the Hub: what the export's own card says, under the metadata that
the Hub reads (task, library, license, dataset, classes and measured results)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import yaml

from pipeline.serving.description import Description


@dataclass(frozen=True)
class HubFacts:
    """What the card says besides what the export does.

    Attributes:
        repo: OWNER/NAME.
        weights: name of the file of weights.
        license: as the Hub writes it, such as apache-2.0; None: not stated.
        metrics: measured values by name, such as accuracy, in [0, 1].
        dataset: that they were measured on; None: not known.
        loads_in: code of other libraries that loads the repository; empty: none.
    """

    repo: str
    weights: str
    license: str | None
    metrics: Mapping[str, float] = field(default_factory=dict)
    dataset: str | None = None
    loads_in: str = ""


def hub_card(facts: HubFacts, description: Description, card: str) -> str:
    """The card as Markdown with a YAML head.

    Args:
        facts: of the repository.
        description: of the export.
        card: of the export, Markdown; empty: it has none.
    """
    classifies = bool(description.class_names)
    task = "image-classification" if classifies else "image-feature-extraction"
    head: dict[str, object] = {
        "library_name": "timm" if facts.loads_in else "keras",
        "pipeline_tag": task,
        "tags": ["vit", "keras", "vit-keras-pipeline", task],
    }
    if facts.license:
        head["license"] = facts.license
    if facts.metrics and facts.dataset:
        head["model-index"] = [
            {
                "name": facts.repo.rpartition("/")[2],
                "results": [
                    {
                        "task": {"type": task},
                        "dataset": {"name": facts.dataset, "type": facts.dataset},
                        "metrics": [
                            {"type": name, "value": value}
                            for name, value in sorted(facts.metrics.items())
                        ],
                    }
                ],
            }
        ]
        head["metrics"] = sorted(facts.metrics)
    text = yaml.safe_dump(head, sort_keys=False, allow_unicode=True)
    height, width = description.image_size
    title = card or f"# {description.variant} at {height}×{width}\n"
    use = (
        "## Load it\n\n```python\nimport vit_keras\n\n"
        f'model = vit_keras.from_pretrained("hf://{facts.repo}")\n'
        f"pixels = vit_keras.preprocess(model)  # of images in [0, 255], {height}×{width}\n"
        f"```\n{facts.loads_in}"
    )
    return f"---\n{text}---\n\n{title.rstrip()}\n\n{use}"
