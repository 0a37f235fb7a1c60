"""From a page's data to its file."""

from __future__ import annotations

import base64
import functools
import hashlib
import json

import jinja2

from groundwork import storage
from groundwork.pages.page import Page

_MEDIA_TYPES = (
    (b"\x89PNG", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF8", "image/gif"),
    (b"RIFF", "image/webp"),
    (b"<svg", "image/svg+xml"),
    (b"<?xml", "image/svg+xml"),
)


def render(page: Page) -> str:
    """The page as one HTML file.

    Names are escaped whatever they hold. As a second guard the page's content security policy lets
    no script run but its own, and loads nothing from anywhere.

    Raises:
        ValueError: an image is no PNG, JPEG, GIF, WebP or SVG file.
    """
    environment = _environment()
    style = _source("page.css")
    script = _source("page.js")
    html = environment.get_template("page.html.j2").render(
        page=page,
        style=style,
        script=script,
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
    )
    # names of files that are not UTF-8 hold lone surrogates, which no file can
    return html.encode("utf-8", "replace").decode()


def write(page: Page, path: str) -> None:
    """Write the page to the file `path`, local or in an object store."""
    storage.write_text(path, render(page))


@functools.cache
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("groundwork.pages"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["data_url"] = _data_url
    environment.filters["json"] = _json
    return environment


def _source(name: str) -> str:
    """A file of the package, as it stands."""
    environment = _environment()
    assert environment.loader is not None
    # browsers hash a script with its line ends as LF, whatever the checkout's are
    return environment.loader.get_source(environment, name)[0].replace("\r\n", "\n")


def _data_url(image: bytes) -> str:
    for start, media_type in _MEDIA_TYPES:
        if image.startswith(start):
            return f"data:{media_type};base64,{base64.b64encode(image).decode()}"
    raise ValueError(f"no PNG, JPEG, GIF, WebP or SVG file: it begins with {image[:8]!r}")


def _json(values: object) -> str:
    """JSON for an attribute, where autoescape does the rest."""
    return json.dumps(values, ensure_ascii=False)
