"""Files of repositories on the Hugging Face Hub, through huggingface_hub and its cache."""

from __future__ import annotations

import contextlib
import errno
import re
import warnings
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

from vit_keras.hub.choose_weights import WEIGHTS, choose_weights
from vit_keras.hub.http_file import file_sha256

_BESIDE = ("config.json", "preprocessor_config.json")
_SHA_256 = re.compile("[0-9a-f]{64}")


def hub_module() -> ModuleType:
    """The package huggingface_hub, imported when first needed.

    Raises:
        ModuleNotFoundError: it is not installed.
    """
    try:
        import huggingface_hub
        import huggingface_hub.constants
        import huggingface_hub.errors
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "names of the Hub need the package huggingface_hub: pip install huggingface_hub"
        ) from error
    return huggingface_hub


def hub_file(repo: str, revision: str | None, file: str | None) -> Path:
    """The local copy of a repository's weights, with their config beside them.

    Args:
        repo: OWNER/NAME.
        revision: branch, tag or commit; None: main.
        file: in the repository; None: the one with its weights.

    Raises:
        ValueError: the repository holds no such file.
        OSError: it is not there or private, could not be downloaded, is not what was to come, or
            there is no space.
    """
    hub = hub_module()
    source = f"hf://{repo}" + (f"@{revision}" if revision else "")
    with hub_errors(source):
        folder: Path | None = None
        try:
            info = hub.model_info(repo, revision=revision)
            names = [sibling.rfilename for sibling in info.siblings or []]
        except Exception as error:
            if not _is_unreachable(error):
                raise
            # As huggingface_hub has it for one file: what is in the cache is taken.
            folder = _cached(hub, repo, revision)
            if folder is None:
                raise
            if not hub.constants.HF_HUB_OFFLINE:
                warnings.warn(
                    f"{source} is out of reach: its copy in the cache is taken", stacklevel=2
                )
            names = [p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()]
        if file is None:
            file = choose_weights(sorted(names), source)
        elif file not in names or not file.endswith(WEIGHTS):
            raise ValueError(f"{source} has no weights {file}, but {', '.join(sorted(names)[:12])}")
        beside = [(Path(file).parent / name).as_posix() for name in _BESIDE]
        found = hub.snapshot_download(
            repo,
            revision=revision,
            allow_patterns=[file, *beside],
            local_files_only=folder is not None,
        )
        path = Path(found) / file
        _check_content(path, source)
    return path


def _cached(hub: ModuleType, repo: str, revision: str | None) -> Path | None:
    """The folder of a repository in the cache, which need not hold all of it."""
    try:
        return Path(hub.snapshot_download(repo, revision=revision, local_files_only=True))
    except hub.errors.LocalEntryNotFoundError as error:
        found = getattr(error, "snapshot_path", None)
        return None if found is None else Path(found)


def _check_content(path: Path, source: str) -> None:
    """Compare a file in the cache with the SHA-256 that it is named by there."""
    blob = path.resolve()
    if _SHA_256.fullmatch(blob.name) and file_sha256(blob) != blob.name:
        blob.unlink()
        path.unlink(missing_ok=True)
        raise OSError(
            f"{source}: {path.name} has another SHA-256 than the Hub tells; it was removed from "
            "the cache: try again"
        )


def _is_unreachable(error: Exception) -> bool:
    """Whether nothing was answered at all, by the names of huggingface_hub's HTTP clients."""
    kinds = {each.__name__ for each in type(error).__mro__}
    return bool(kinds & {"OfflineModeIsEnabled", "ConnectError", "TimeoutException"})


@contextlib.contextmanager
def hub_errors(source: str) -> Iterator[None]:
    """Say in one line what went wrong with a repository.

    Raises:
        OSError: for whatever the Hub, the network or the disk has said.
    """
    hub = hub_module()
    errors = hub.errors
    try:
        yield
    except errors.GatedRepoError as error:
        raise PermissionError(
            f"{source} is open to those alone who accept its terms: do so on its page, and log in "
            "with `hf auth login` or set HF_TOKEN"
        ) from error
    except errors.RepositoryNotFoundError as error:
        raise FileNotFoundError(
            f"{source} is not on the Hub, or is private: look for a slip in the name, or log in "
            "with `hf auth login` or set HF_TOKEN"
        ) from error
    except errors.RevisionNotFoundError as error:
        raise FileNotFoundError(f"{source}: there is no such revision") from error
    except errors.LocalEntryNotFoundError as error:
        raise _not_cached(source, hub) from error
    except errors.HfHubHTTPError as error:
        status = error.response.status_code if error.response is not None else "no"
        if status in (401, 403):
            raise PermissionError(
                f"{source} may not be read or written with this token (status {status}): log in "
                "with `hf auth login`, or set HF_TOKEN to one that may"
            ) from error
        raise OSError(f"{source}: the Hub answers with status {status}: try again later") from error
    except errors.HFValidationError as error:
        raise ValueError(f"{source}: {_one_line(error)}") from error
    except Exception as error:
        number = getattr(error, "errno", None)
        if number in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise OSError(
                number,
                f"no space left for {source} in {hub.constants.HF_HUB_CACHE}: free some, or set "
                "HF_HOME to a folder elsewhere",
            ) from error
        if _is_unreachable(error):
            raise _not_cached(source, hub) from error
        if "\n" in str(error) and isinstance(error, OSError | ValueError):
            kind = OSError if isinstance(error, OSError) else ValueError
            raise kind(f"{source}: {_one_line(error)}") from error
        if type(error).__module__.partition(".")[0].startswith(("httpx", "huggingface_hub", "hf_")):
            raise ConnectionError(f"{source}: {_one_line(error)}: try again") from error
        raise


def _not_cached(source: str, hub: ModuleType) -> OSError:
    why = "HF_HUB_OFFLINE is set" if hub.constants.HF_HUB_OFFLINE else "the Hub is out of reach"
    return ConnectionError(
        f"{source} is not whole in {hub.constants.HF_HUB_CACHE}, and {why}: load it once with a "
        "network"
    )


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__
