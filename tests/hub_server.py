"""A model hub on this machine, as much of one as huggingface_hub needs to push to: what it received is kept."""

from __future__ import annotations

import base64
import contextlib
import json
import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

_KINDS = {"models": "", "datasets": "datasets/"}  # what the API calls them, and what their addresses begin with


@dataclass
class HubServer:
    """The hub of one user, who may write in a namespace of that name. Files are kept by repository, then path."""

    token: str
    user: str = "someone"
    large_files: bool = True  # whether it takes weights and pictures by LFS, as the hub does, or all in the commit
    refuses_commits: bool = False
    read_only: bool = False  # whether the token may only read
    endpoint: str = ""
    repositories: dict[str, dict[str, bytes]] = field(default_factory=dict)
    commits: list[tuple[str, str]] = field(default_factory=list)  # repository, message
    uploads: dict[str, bytes] = field(default_factory=dict)  # by SHA-256, what came by LFS

    def answer(self, method: str, path: str, body: bytes, token: str | None) -> tuple[int, object]:
        """The status and the JSON of the answer to a request."""
        if method == "PUT" and path.startswith("/lfs/"):
            self.uploads[path.removeprefix("/lfs/")] = body
            return 200, {}
        if token != self.token:
            return 401, {"error": "Invalid credentials"}
        if path == "/api/whoami-v2":
            return 200, {"name": self.user, "type": "user"}
        if path == "/api/repos/create":
            return self._create(json.loads(body))
        if path == "/api/validate-yaml":
            return 200, {"warnings": [], "errors": []}
        if found := re.fullmatch(r"/(datasets/)?(.+)\.git/info/lfs/objects/batch", path):
            objects = json.loads(body)["objects"]
            return 200, {"transfer": "basic", "objects": [
                {**one, "actions": {"upload": {"href": f"{self.endpoint}/lfs/{one['oid']}"}}} for one in objects]}
        if found := re.fullmatch(r"/api/(models|datasets)/([^/]+/[^/]+)/(.+)", path):
            return self._in_repository(_KINDS[found[1]] + found[2], found[3], body)
        return 404, {"error": f"no such address: {method} {path}"}

    def _create(self, wanted: dict) -> tuple[int, object]:
        owner = wanted["organization"] or self.user
        name = _KINDS[wanted["type"] + "s"] + f"{owner}/{wanted['name']}"
        if owner != self.user or (self.read_only and name not in self.repositories):
            return 403, {"error": f"You don't have the rights to create a model under the namespace {owner}"}
        answer = {"url": f"{self.endpoint}/{name}"}
        if name in self.repositories:
            return 409, {**answer, "error": "You already created this repository"}
        self.repositories[name] = {}
        return 200, answer

    def _in_repository(self, name: str, what: str, body: bytes) -> tuple[int, object]:
        if name not in self.repositories:
            return 404, {"error": "Repository not found"}
        if what == "auth-check/write":
            return (403, {"error": "This token may only read"}) if self.read_only else (200, {})
        if what == "preupload/main":
            return 200, {"files": [{"path": one["path"], "shouldIgnore": False, "oid": None, "uploadMode": (
                "lfs" if self.large_files and one["path"].endswith((".safetensors", ".png")) else "regular")}
                for one in json.loads(body)["files"]]}
        if what == "commit/main" and not self.refuses_commits:
            return 200, self._commit(name, [json.loads(line) for line in body.splitlines()])
        return 403, {"error": "The storage is full"}

    def _commit(self, name: str, lines: list[dict]) -> dict[str, str]:
        for line in lines:
            value = line["value"]
            if line["key"] == "header":
                self.commits.append((name, value["summary"]))
            else:
                self.repositories[name][value["path"]] = (
                    base64.b64decode(value["content"]) if line["key"] == "file" else self.uploads[value["oid"]])
        number = f"{len(self.commits):040x}"
        return {"commitUrl": f"{self.endpoint}/{name}/commit/{number}", "commitOid": number}


@contextlib.contextmanager
def serving(hub: HubServer) -> Iterator[HubServer]:
    """Answer at `hub.endpoint`, a port of this machine alone, until the block ends."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self) -> None:
            scheme, _, token = self.headers.get("Authorization", "").partition(" ")
            status, content = hub.answer(self.command, self.path.partition("?")[0], self.body(),
                                         token if scheme == "Bearer" else None)
            data = json.dumps(content).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            if status >= 400:
                self.send_header("X-Error-Message", content["error"])
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_POST = do_PUT = answer  # noqa: N815 - the names that http.server asks for

        def body(self) -> bytes:
            if "chunked" not in self.headers.get("Transfer-Encoding", ""):
                return self.rfile.read(int(self.headers.get("Content-Length", 0)))
            data = b""
            while size := int(self.rfile.readline(), 16):
                data += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
            return data

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    hub.endpoint = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
