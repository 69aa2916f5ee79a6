"""A hub on this machine: the three calls that huggingface_hub makes for files of a commit."""

import hashlib
import json
import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from huggingface_hub import constants

REPOSITORY, COMMIT = "somebody/something", "0123456789abcdef0123456789abcdef01234567"


class Hub:
    """Serves the files of one repository at one commit, and counts the requests."""

    def __init__(self, files: Mapping[str, bytes]) -> None:
        self.files = files
        self.bodies: Counter[str] = Counter()
        """Maps each file to the number of times that its content was sent."""
        self.licence_wanted = False
        self.url = ""


class _Handler(BaseHTTPRequestHandler):
    hub: Hub

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def log_message(self, format: str, *arguments: object) -> None:
        """Log nothing, to keep the output of tests clean."""

    def _answer(self, *, body: bool) -> None:
        path, hub = self.path.partition("?")[0], self.hub
        files = f"/{REPOSITORY}/resolve/{COMMIT}/"
        if hub.licence_wanted:
            self._send(403, b"", {"X-Error-Code": "GatedRepo"}, body=body)
        elif path == f"/api/models/{REPOSITORY}/tree/{COMMIT}":
            self._send(200, json.dumps([*map(self._entry, hub.files)]).encode(), {}, body=body)
        elif path.startswith(files) and path.removeprefix(files) in hub.files:
            name = path.removeprefix(files)
            hub.bodies[name] += body
            headers = {"X-Repo-Commit": COMMIT, "ETag": f'"{_digest(hub.files[name])}"'}
            self._send(200, hub.files[name], headers, body=body)
        else:
            code = "EntryNotFound" if path.startswith(files) else "RepoNotFound"
            self._send(404, b"", {"X-Error-Code": code}, body=body)

    def _entry(self, name: str) -> dict[str, object]:
        data = self.hub.files[name]
        return {"type": "file", "path": name, "size": len(data), "oid": _digest(data)}

    def _send(self, status: int, data: bytes, headers: Mapping[str, str], *, body: bool) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(data))}.items():
            self.send_header(name, value)
        self.end_headers()
        if body:
            self.wfile.write(data)


def point_to(hub: Hub, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make huggingface_hub in this process use only this hub, with a separate cache folder."""
    monkeypatch.setattr(constants, "ENDPOINT", hub.url)
    template = hub.url + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)


def _digest(data: bytes) -> str:
    return hashlib.sha1(data).hexdigest()


@contextmanager
def serve(files: Mapping[str, bytes]) -> Iterator[Hub]:
    """Run a hub while the context is open."""
    hub = Hub(files)
    handler = type("Handler", (_Handler,), {"hub": hub})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    hub.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
