"""Put an exported model on the Hugging Face Hub: `python -m pipeline.publish --help`."""

from __future__ import annotations

import re
from dataclasses import dataclass

from groundwork import command_line
from groundwork.errors import UserError
from pipeline.process.tensorflow_startup import import_tensorflow

PROG = "python -m pipeline.publish"


@dataclass
class PublishConfig:
    """Put a model on the Hugging Face Hub: weights, config, and a model card with metadata.

    `vit_keras.from_pretrained("hf://USER/NAME")` loads it, and timm or transformers do where their
    layout has a place for all of it. Log in with `hf auth login`, or set HF_TOKEN.
    """

    model: str
    """Export folder, workdir, file of weights, or a name, as for the other commands."""
    repo: str
    """Repository, USER/NAME; it is made where there is none, and what is in it is replaced."""
    private: bool = False
    """Make a new repository private."""
    license: str | None = None
    """License of the weights as the Hub writes it, such as apache-2.0; null: the card states
    none."""


def main() -> int:
    """Run the command; returns the exit status."""
    config = command_line.parse(PublishConfig, prog=PROG)
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", config.repo, re.ASCII):
        raise UserError(f"repo is {config.repo}: give USER/NAME, such as --repo me/photos")
    import_tensorflow()
    from pipeline.named_models.publishing import publish

    url = publish(config.model, config.repo, private=config.private, license=config.license)
    print(f'published {url}\nload it   vit_keras.from_pretrained("hf://{config.repo}")')
    return 0


if __name__ == "__main__":
    command_line.run_main(main)
