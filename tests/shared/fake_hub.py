"""A stand-in for the Hub on loopback: as much of its HTTP as huggingface_hub asks for."""

import hashlib
import json
import re
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

MAIN = "0123456789abcdef0123456789abcdef01234567"  # the commit that `main` stands for


@dataclass
class Hub:
    """What lies on the Hub, what was asked of it, and where it is to fail."""

    repositories: dict[str, Path]  # "owner/name" -> the folder with its files
    revisions: dict[str, str] = field(default_factory=dict)  # other commits than MAIN
    gated: set[str] = field(default_factory=set)
    requests: list[str] = field(default_factory=list)
    breaks_at: str | None = None  # a file: in the middle of it, the Hub goes away
    hangs_up: bool = False  # without an answer
    port: int = 0
    server: ThreadingHTTPServer | None = None

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *error):
        self.stop()

    def start(self):
        if self.server:
            return
        handler = type("Handler", (Handler,), {"hub": self})
        self.server = ThreadingHTTPServer(("127.0.0.1", self.port), handler)
        self.port = self.server.server_port
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()

    def stop(self):
        if self.server:
            self.server.shutdown()
            self.server.server_close()
            self.server = None

    def endpoint(self):
        return f"http://127.0.0.1:{self.port}"

    def files_asked_for(self):
        """The files of which the content, not only the headers, was asked for."""
        contents = (
            re.fullmatch(r"GET /[^/]+/[^/]+/resolve/\w+/(.+)", ask) for ask in self.requests
        )
        return {match[1] for match in contents if match}

    def commit(self, hub_id):
        return self.revisions.get(hub_id, MAIN)

    def files(self, hub_id):
        folder = self.repositories[hub_id]
        return {
            path.relative_to(folder).as_posix(): path
            for path in sorted(folder.rglob("*"))
            if path.is_file()
        }


class Handler(BaseHTTPRequestHandler):
    hub: Hub

    def do_HEAD(self):
        self.answer()

    def do_GET(self):
        self.answer()

    def log_message(self, *arguments):
        pass  # `Hub.requests` is the log

    def answer(self):
        path = self.path.split("?")[0]
        self.hub.requests.append(f"{self.command} {path}")
        if self.hub.hangs_up:
            return
        info = re.fullmatch(r"/api/models/([^/]+/[^/]+)(?:/(revision|tree)/(\w+))?", path)
        file = re.fullmatch(r"/([^/]+/[^/]+)/resolve/(\w+)/(.+)", path)
        if info:
            self.describe(*info.groups())
        elif file:
            self.deliver(*file.groups())
        else:
            self.refuse(404, "EntryNotFound")

    def is_there(self, hub_id, revision):
        if hub_id not in self.hub.repositories:
            # The Hub tells nobody without a token whether a repository is private or missing.
            self.refuse(401, "RepoNotFound")
        elif revision not in (None, "main", self.hub.commit(hub_id)):
            self.refuse(404, "RevisionNotFound")
        else:
            return True

    def describe(self, hub_id, view, revision):
        """Answer with the repository's description, or with the list of its files."""
        if not self.is_there(hub_id, revision):
            return
        files = self.hub.files(hub_id)
        if view == "tree":
            entries = [
                {"type": "file", "path": name, "size": len(content), "oid": git_oid(content)}
                for name, content in ((name, path.read_bytes()) for name, path in files.items())
            ]
            return self.reply(200, json.dumps(entries).encode(), {})
        siblings = [{"rfilename": name} for name in files]
        description = {"id": hub_id, "sha": self.hub.commit(hub_id), "siblings": siblings}
        self.reply(200, json.dumps(description).encode(), {})

    def deliver(self, hub_id, revision, name):
        """Answer with a file."""
        if not self.is_there(hub_id, revision):
            return
        if hub_id in self.hub.gated:
            return self.refuse(401, "GatedRepo")
        path = self.hub.files(hub_id).get(name)
        if path is None:
            return self.refuse(404, "EntryNotFound")
        content = path.read_bytes()
        headers = {"X-Repo-Commit": self.hub.commit(hub_id), "ETag": f'"{git_oid(content)}"'}
        self.reply(200, content, headers, breaks=name == self.hub.breaks_at)

    def refuse(self, status, code):
        self.reply(status, b"{}", {"X-Error-Message": "Refused", "X-Error-Code": code})

    def reply(self, status, content, headers, breaks=False):
        self.send_response(status)
        for name, value in ({"Content-Length": str(len(content))} | headers).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content[: len(content) // 2] if breaks else content)
            if breaks:
                self.hub.stop()


def git_oid(content):
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
