"""A hub on this machine: a server of the part of the Hugging Face Hub's interface that is used.

Repositories are dictionaries of files; `Hub.faults` says what goes wrong with which file.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

TOKEN = "hf_loopback"
LARGE = (".safetensors", ".npz", ".keras")  # whose ETag is their SHA-256


@dataclass
class Hub:
    """What the server has and has done.

    Attributes:
        repos: files by OWNER/NAME.
        private: repositories that ask for `TOKEN`.
        faults: "cut" (the first answer breaks off), "always cut" or "other content", by file.
        requests: method and path of each request.
        created: bodies of requests that made a repository.
    """

    url: str = ""
    repos: dict[str, dict[str, bytes]] = field(default_factory=dict)
    private: set[str] = field(default_factory=set)
    faults: dict[str, str] = field(default_factory=dict)
    requests: list[str] = field(default_factory=list)
    created: list[dict[str, object]] = field(default_factory=list)
    cut: set[str] = field(default_factory=set)

    def downloads(self, file: str) -> int:
        """How often a file was asked for."""
        return sum(r.startswith("GET") and r.endswith(f"/{file}") for r in self.requests)

    def commit(self, repo: str) -> str:
        """The one commit of a repository."""
        digest = hashlib.sha1()
        for name, content in sorted(self.repos[repo].items()):
            digest.update(name.encode() + content)
        return digest.hexdigest()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: Hub

    def log_message(self, *_: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self._get()

    def do_GET(self) -> None:
        self._get()

    def _get(self) -> None:
        path = unquote(urlsplit(self.path).path)
        self.hub.requests.append(f"{self.command} {path}")
        if match := re.fullmatch(r"/api/models/([^/]+/[^/]+)/tree/([^/]+).*", path):
            if self._may_see(match[1], match[2]):
                self._json([_entry(n, c) for n, c in self.hub.repos[match[1]].items()])
        elif match := re.fullmatch(r"/api/models/([^/]+/[^/]+)(?:/revision/([^/]+))?", path):
            if self._may_see(match[1], match[2] or "main"):
                files = [{"rfilename": name} for name in self.hub.repos[match[1]]]
                sha = self.hub.commit(match[1])
                self._json({"id": match[1], "modelId": match[1], "sha": sha, "siblings": files})
        elif match := re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path):
            if self._may_see(match[1], match[2]):
                self._file(match[1], match[3])
        else:
            self._fail(404, "EntryNotFound")

    def do_POST(self) -> None:
        path = unquote(urlsplit(self.path).path)
        self.hub.requests.append(f"POST {path}")
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if path == "/api/validate-yaml":
            self._json({"errors": [], "warnings": []})
            return
        if self.headers.get("Authorization") != f"Bearer {TOKEN}":
            self._fail(401, None)
        elif path == "/api/repos/create":
            wanted = json.loads(body)
            name = f"{wanted['organization']}/{wanted['name']}"
            self.hub.repos.setdefault(name, {})
            self.hub.created.append(wanted)
            self._json({"url": f"{self.hub.url}/{name}", "name": name, "id": name})
        elif match := re.fullmatch(r"/api/models/([^/]+/[^/]+)/preupload/main", path):
            files = [
                {"path": f["path"], "uploadMode": "regular", "shouldIgnore": False, "oid": None}
                for f in json.loads(body)["files"]
            ]
            self._json({"files": files})
        elif match := re.fullmatch(r"/api/models/([^/]+/[^/]+)/commit/main", path):
            for line in map(json.loads, body.splitlines()):
                if line["key"] == "file":
                    content = base64.b64decode(line["value"]["content"])
                    self.hub.repos[match[1]][line["value"]["path"]] = content
            sha = self.hub.commit(match[1])
            url = f"{self.hub.url}/{match[1]}/commit/{sha}"
            self._json({"commitUrl": url, "commitOid": sha, "success": True})
        else:
            self._fail(404, None)

    def _may_see(self, repo: str, revision: str) -> bool:
        token = self.headers.get("Authorization") == f"Bearer {TOKEN}"
        if repo not in self.hub.repos or (repo in self.hub.private and not token):
            self._fail(401, "RepoNotFound")
            return False
        if revision not in ("main", self.hub.commit(repo)):
            self._fail(404, "RevisionNotFound")
            return False
        return True

    def _file(self, repo: str, name: str) -> None:
        if name not in self.hub.repos[repo]:
            self._fail(404, "EntryNotFound", {"X-Repo-Commit": self.hub.commit(repo)})
            return
        content = self.hub.repos[repo][name]
        etag, fault = _etag(name, content), self.hub.faults.get(name)
        if fault == "other content":
            content = bytes(len(content))
        begin = 0
        if asked := re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range") or ""):
            begin = int(asked[1])
        self.send_response(206 if begin else 200)
        self.send_header("ETag", f'"{etag}"')
        self.send_header("X-Repo-Commit", self.hub.commit(repo))
        self.send_header("Accept-Ranges", "bytes")
        if begin:
            self.send_header("Content-Range", f"bytes {begin}-{len(content) - 1}/{len(content)}")
        self.send_header("Content-Length", str(len(content) - begin))
        self.end_headers()
        if self.command == "HEAD":
            return
        if fault == "always cut" or (fault == "cut" and name not in self.hub.cut):
            self.hub.cut.add(name)
            self.wfile.write(content[begin : begin + (len(content) - begin) // 2])
            self.close_connection = True
        else:
            self.wfile.write(content[begin:])

    def _json(self, answer: object) -> None:
        body = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _fail(self, status: int, code: str | None, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        if code:
            self.send_header("X-Error-Code", code)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", "0")
        self.end_headers()


def _etag(name: str, content: bytes) -> str:
    return (hashlib.sha256 if name.endswith(LARGE) else hashlib.sha1)(content).hexdigest()


def _entry(name: str, content: bytes) -> dict[str, object]:
    entry: dict[str, object] = {"type": "file", "path": name, "size": len(content)}
    entry["oid"] = hashlib.sha1(content).hexdigest()
    if name.endswith(LARGE):
        entry["lfs"] = {"oid": _etag(name, content), "size": len(content), "pointerSize": 130}
    return entry


@contextlib.contextmanager
def hub_server() -> Iterator[Hub]:
    """A hub without repositories, from when it answers."""
    hub = Hub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("OfHub", (Handler,), {"hub": hub}))
    hub.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
