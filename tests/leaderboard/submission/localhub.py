"""The smallest Hub that the real ``huggingface_hub`` client can be tested against: datasets, commits, pull requests."""

from __future__ import annotations

import base64
import hashlib
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response

TOKENS = {"hf_alice": "alice", "hf_bob": "bob", "hf_maintainer": "org"}
DATE = "2026-01-01T00:00:00.000Z"


def blob_id(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


@dataclass
class Commit:
    oid: str
    parent: str | None
    files: dict[str, bytes]
    message: str
    author: str


@dataclass
class Pull:
    number: int
    title: str
    author: str
    status: str = "open"
    comments: list[str] = field(default_factory=list)
    created: str = DATE


@dataclass
class Repo:
    commits: dict[str, Commit] = field(default_factory=dict)
    refs: dict[str, str] = field(default_factory=dict)
    pulls: dict[int, Pull] = field(default_factory=dict)

    def resolve(self, revision: str) -> Commit | None:
        return self.commits.get(self.refs.get(revision, revision))

    def add(self, ref: str, parent: Commit | None, files: dict[str, bytes], message: str, author: str) -> Commit:
        seed = repr((ref, parent.oid if parent else None, sorted(files), message, time.time_ns()))
        commit = Commit(hashlib.sha1(seed.encode()).hexdigest(), parent.oid if parent else None, files, message, author)
        self.commits[commit.oid] = commit
        self.refs[ref] = commit.oid
        return commit

    def push(self, ref: str, author: str, **files: bytes) -> None:
        """Add a commit with these files to a branch."""
        head = self.resolve(ref)
        assert head is not None
        self.add(ref, head, {**head.files, **files}, "push", author)

    def history(self, commit: Commit | None) -> Iterator[Commit]:
        while commit is not None:
            yield commit
            commit = self.commits.get(commit.parent or "")


def problem(status: int, code: str = "", message: str = "") -> JSONResponse:
    headers = {"X-Error-Code": code, "X-Error-Message": message or code or str(status)}
    return JSONResponse({"error": message or code}, status_code=status, headers=headers)


class Hub:
    """State of the server; ``delay`` and ``status`` make it slow or failing, ``refuse`` forbids pull requests.

    ``before_merge`` and ``before_commit`` are called just before a merge and a commit to main: what others do then. A
    response of ``before_merge`` is the answer, and nothing is merged.
    """

    def __init__(self) -> None:
        self.repos: dict[str, Repo] = {}
        self.delay, self.status, self.refuse = 0.0, 0, False
        self.before_merge: Callable[[Repo], object] = lambda repo: None
        self.before_commit: Callable[[Repo], object] = lambda repo: None
        self.tokens_seen: list[str | None] = []
        self.files_sent: list[str] = []
        self.endpoint = ""
        self.app = FastAPI()
        self._routes()

    def account(self, request: Request) -> str | None:
        return TOKENS.get(request.headers.get("authorization", "").removeprefix("Bearer "))

    def _routes(self) -> None:
        app = self.app

        @app.middleware("http")
        async def faults(request: Request, call):  # type: ignore[no-untyped-def]
            self.tokens_seen.append(request.headers.get("authorization"))
            if self.delay:
                import asyncio

                await asyncio.sleep(self.delay)
            if self.status:
                return problem(self.status)
            given = request.headers.get("authorization")
            if given and self.account(request) is None:
                return problem(401, "", "Invalid username or password.")
            return await call(request)

        @app.get("/api/whoami-v2")
        async def whoami(request: Request) -> Response:
            name = self.account(request)
            if name is None:
                return problem(401)
            return JSONResponse({"type": "user", "name": name, "orgs": [], "auth": {"type": "access_token"}})

        @app.post("/api/repos/create")
        async def create(request: Request) -> Response:
            body = await request.json()
            name = f"{body.get('organization') or self.account(request)}/{body['name']}"
            if self.account(request) is None:
                return problem(401)
            url = f"{self.endpoint}/datasets/{name}"
            if name in self.repos:
                return JSONResponse({"url": url, "name": name, "error": "exists"}, status_code=409)
            self.repos[name] = repo = Repo()
            repo.add("main", None, {".gitattributes": b""}, "initial commit", "org")
            return JSONResponse({"url": url, "name": name})

        @app.post("/api/validate-yaml")
        async def validate() -> Response:
            return JSONResponse({"errors": [], "warnings": []})

        @app.api_route("/{path:path}", methods=["GET", "POST", "HEAD", "PUT"])
        async def rest(path: str, request: Request) -> Response:
            return await self._repo_request(path, request)

    async def _repo_request(self, path: str, request: Request) -> Response:
        parts = path.split("/")
        if parts[0] == "datasets" and "resolve" in parts:
            return self._file("/".join(parts[1:3]), parts[4:], request)
        if parts[:2] != ["api", "datasets"] or "/".join(parts[2:4]) not in self.repos:
            return problem(404, "RepoNotFound")
        name, rest = "/".join(parts[2:4]), parts[4:]
        repo = self.repos[name]
        action, tail = (rest[0], rest[1:]) if rest else ("revision", ["main"])
        if action in ("revision", "tree", "preupload", "commit", "commits", "paths-info"):
            revision = "/".join(tail[:3]) if tail[:2] == ["refs", "pr"] else tail[0]
            commit = repo.resolve(revision)
            if commit is None:
                return problem(404, "RevisionNotFound")
            if action == "commit":
                return await self._commit(name, repo, revision, commit, request)
            return await self._read(repo, action, commit, request)
        if action == "discussions":
            return await self._discussions(name, repo, tail, request)
        return problem(404, "EntryNotFound")

    async def _read(self, repo: Repo, action: str, commit: Commit, request: Request) -> Response:
        entries = [
            {"type": "file", "path": path, "size": len(content), "oid": blob_id(content)}
            for path, content in sorted(commit.files.items())
        ]
        if action == "revision":
            names = [{"rfilename": path} for path in commit.files]
            return JSONResponse({"id": "x/y", "sha": commit.oid, "siblings": names, "private": False, "tags": []})
        if action == "tree":
            return JSONResponse(entries)
        if action == "commits":
            found = [
                {"id": c.oid, "title": c.message, "message": "", "date": DATE, "authors": []}
                for c in repo.history(commit)
            ]
            return JSONResponse(found)
        body = await request.json()
        if action == "paths-info":
            return JSONResponse([entry for entry in entries if entry["path"] in body["paths"]])
        known = {entry["path"]: entry["oid"] for entry in entries}
        files = [
            {"path": f["path"], "uploadMode": "regular", "shouldIgnore": False, "oid": known.get(f["path"])}
            for f in body["files"]
        ]
        return JSONResponse({"files": files})

    async def _commit(self, name: str, repo: Repo, revision: str, parent: Commit, request: Request) -> Response:
        author = self.account(request)
        create_pr = request.query_params.get("create_pr") == "1"
        if author is None:
            return problem(401)
        if (create_pr and self.refuse) or (not create_pr and author != "org" and revision == "main"):
            return problem(403, "", "This repository does not take pull requests from you.")
        if revision == "main" and not create_pr:
            self.before_commit(repo)
            parent = repo.resolve(revision) or parent
        lines = [json.loads(line) for line in (await request.body()).splitlines()]
        header = lines[0]["value"]
        if header.get("parentCommit") not in (None, parent.oid):
            return problem(412, "", "The parent commit is stale.")
        files = dict(parent.files)
        for line in lines[1:]:
            value = line["value"]
            if line["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "deletedFile":
                files.pop(value["path"], None)
        url = None
        if create_pr:
            number = len(repo.pulls) + 1
            repo.pulls[number] = Pull(number, header["summary"], author)
            revision = f"refs/pr/{number}"
            url = f"{self.endpoint}/datasets/{name}/discussions/{number}"
        commit = repo.add(revision, parent, files, header["summary"], author)
        answer = {"commitOid": commit.oid, "commitUrl": f"{self.endpoint}/datasets/{name}/commit/{commit.oid}"}
        return JSONResponse({**answer, "pullRequestUrl": url})

    async def _discussions(self, name: str, repo: Repo, tail: list[str], request: Request) -> Response:
        def listed(pull: Pull) -> dict[str, object]:
            author = {"name": pull.author, "type": "user"}
            base = {"num": pull.number, "title": pull.title, "author": author, "status": pull.status}
            return {**base, "isPullRequest": True, "createdAt": pull.created, "repo": {"type": "dataset", "name": name}}

        if not tail:
            author = request.query_params.get("author")
            pulls = [pull for pull in repo.pulls.values() if author in (None, pull.author)]
            found = [listed(pull) for pull in sorted(pulls, key=lambda p: -p.number)]
            return JSONResponse({"count": len(found), "start": 0, "discussions": found})
        pull = repo.pulls.get(int(tail[0]))
        if pull is None:
            return problem(404, "EntryNotFound")
        if request.method == "GET":
            changes = {"base": "refs/heads/main"}
            return JSONResponse(
                {**listed(pull), "events": [], "changes": changes, "filesWithConflicts": False, "diff": ""}
            )
        if self.account(request) != "org":
            return problem(403)
        body = json.loads(await request.body() or b"{}")
        if body.get("comment"):
            pull.comments.append(body["comment"])
        event = {"id": "1", "createdAt": DATE, "author": {"name": "org"}}
        if tail[1] == "merge":
            if isinstance(refusal := self.before_merge(repo), Response):
                return refusal
            head, main = repo.resolve(f"refs/pr/{pull.number}"), repo.resolve("main")
            base = next(c for c in repo.history(head) if c.oid in {m.oid for m in repo.history(main)})
            added = {path: data for path, data in head.files.items() if base.files.get(path) != data}
            repo.add("main", main, {**main.files, **added}, pull.title, pull.author)
            pull.status = "merged"
            return JSONResponse({})
        if tail[1] == "status":
            pull.status = body["status"]
            return JSONResponse({"newStatus": {**event, "type": "status-change", "data": {"status": body["status"]}}})
        pull.comments.append(body.get("comment", ""))
        return JSONResponse(
            {"newMessage": {**event, "type": "comment", "data": {"latest": {"raw": "", "updatedAt": DATE}}}}
        )

    def _file(self, name: str, tail: list[str], request: Request) -> Response:
        repo = self.repos.get(name)
        if repo is None:
            return problem(404, "RepoNotFound")
        size = 3 if tail[:2] == ["refs", "pr"] else 1
        revision, path = "/".join(tail[:size]).replace("%2F", "/"), "/".join(tail[size:])
        commit = repo.resolve(revision)
        if commit is None:
            return problem(404, "RevisionNotFound")
        content = commit.files.get(path)
        if content is None:
            return problem(404, "EntryNotFound")
        if request.method != "HEAD":
            self.files_sent.append(path)
        headers = {"ETag": f'"{blob_id(content)}"', "X-Repo-Commit": commit.oid, "Content-Length": str(len(content))}
        return Response(b"" if request.method == "HEAD" else content, headers=headers)


@contextmanager
def running(hub: Hub) -> Iterator[str]:
    """Serve a Hub on a free port of the loopback interface."""
    listener = socket.create_server(("127.0.0.1", 0))
    hub.endpoint = f"http://127.0.0.1:{listener.getsockname()[1]}"
    server = uvicorn.Server(uvicorn.Config(hub.app, log_level="error", lifespan="off"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.02)
    try:
        yield hub.endpoint
    finally:
        server.should_exit = True
        thread.join(10)


@contextmanager
def cutting_proxy(target: str, after: int) -> Iterator[str]:
    """Forward connections to ``target``; one that has sent more than ``after`` bytes is cut."""
    host, port = target.removeprefix("http://").split(":")
    listener = socket.create_server(("127.0.0.1", 0))

    def forward(client: socket.socket) -> None:
        server = socket.create_connection((host, int(port)))

        def back() -> None:
            while data := _received(server):
                client.sendall(data)
            client.close()

        threading.Thread(target=back, daemon=True).start()
        sent = 0
        while data := _received(client):
            sent += len(data)
            if sent > after:
                break
            server.sendall(data)
        for end in (server, client):
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue

    def accept() -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=forward, args=(client,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        listener.close()


def _received(end: socket.socket) -> bytes:
    try:
        return end.recv(65536)
    except OSError:
        return b""
