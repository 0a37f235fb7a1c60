"""A file of weights by its name, wherever that is: the one place that knows all kinds of names."""

from __future__ import annotations

import os
import re
from pathlib import Path
from urllib.parse import quote, urlsplit

from vit_keras.hub.choose_weights import WEIGHTS, choose_weights
from vit_keras.hub.http_file import cached_beside, cached_file
from vit_keras.hub.hub_files import hub_file

# google-research's buckets; the names in them are files without .npz.
BUCKETS = {
    "augreg": "gs://vit_models/augreg",
    "vit": "gs://vit_models/imagenet21k",
    "vit-imagenet2012": "gs://vit_models/imagenet21k+imagenet2012",
    "sam": "gs://vit_models/sam",
    "gsam": "gs://vit_models/gsam",
    "bit": "gs://bit_models",
    "big_vision": "gs://big_vision",
}

_HUB = re.compile(
    r"hf://(?P<repo>[\w.-]+/[\w.-]+)(?:@(?P<revision>[^@/]+))?(?:/(?P<file>[^@]+))?", re.ASCII
)


def is_name(path: str | os.PathLike[str]) -> bool:
    """Whether this names weights elsewhere, and is no local path."""
    text = os.fspath(path)
    return "://" in text or (
        text.partition(":")[0] in BUCKETS and ":" in text and not Path(text).exists()
    )


def local_file(name: str | os.PathLike[str]) -> Path:
    """The local file of the weights with that name; downloaded where it is not in the cache.

    Args:
        name: one of

            - a file, or a folder with `model.safetensors` or one file of weights;
            - `hf://OWNER/NAME`, `hf://OWNER/NAME@REVISION`, `hf://OWNER/NAME/FILE`: a repository
              of the Hugging Face Hub, or one file in it. huggingface_hub's cache, tokens and
              settings hold (`HF_HOME`, `HF_TOKEN`, `HF_HUB_OFFLINE`, `HF_ENDPOINT`);
            - `augreg:NAME`, `vit:NAME`, `vit-imagenet2012:NAME`, `sam:NAME`, `gsam:NAME`,
              `bit:NAME`, `big_vision:NAME`: an official file, without .npz;
            - `gs://BUCKET/FILE`, of a public bucket, or `https://HOST/FILE`; `#sha256=…` at the
              end is checked. They are kept in `VIT_KERAS_CACHE`, ~/.cache/vit_keras.

    Raises:
        ValueError: no such kind of name, or no weights in the folder or repository.
        FileNotFoundError: there is nothing of that name.
        OSError: it could not be downloaded, is not what was to come, or there is no space.
        ModuleNotFoundError: a name of the Hub, and `huggingface_hub` is not installed.
    """
    text = os.fspath(name)
    if not is_name(text):
        return _on_disk(Path(text).expanduser())
    prefix, _, rest = text.partition(":")
    if prefix in BUCKETS and not rest.startswith("//"):
        if not rest:
            raise ValueError(f"{text}: a name is missing, such as {prefix}:ViT-B_16")
        text = f"{BUCKETS[prefix]}/{rest.removesuffix('.npz')}.npz"
    scheme = text.partition("://")[0]
    if scheme == "hf":
        match = _HUB.fullmatch(text)
        if match is None:
            raise ValueError(f"{text}: a name of the Hub is hf://OWNER/NAME or with @REVISION")
        return hub_file(match["repo"], match["revision"], match["file"])
    if scheme == "gs":
        host = os.environ.get("STORAGE_EMULATOR_HOST", "https://storage.googleapis.com")
        path, mark, fragment = text.removeprefix("gs://").partition("#")
        text = f"{host}/{quote(path)}{mark}{fragment}"
    elif scheme not in ("https", "http"):
        raise ValueError(f"{text}: weights are read from hf://, gs:// and https://")
    if not urlsplit(text).path.endswith(WEIGHTS):
        raise ValueError(f"{name}: a file of weights ends in {', '.join(WEIGHTS)}")
    if urlsplit(text).path.endswith(".safetensors"):
        cached_beside(text)
    return cached_file(text)


def _on_disk(path: Path) -> Path:
    if path.is_dir():
        return path / choose_weights(sorted(each.name for each in path.iterdir()), str(path))
    if not path.exists():
        prefixes = ", ".join(f"{prefix}:" for prefix in BUCKETS)
        raise FileNotFoundError(
            f"{path} does not exist: give a file or folder, hf://OWNER/NAME, gs://, https://, or a "
            f"name after one of {prefixes}"
        )
    return path
