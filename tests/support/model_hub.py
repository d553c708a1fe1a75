"""A model hub of one repository: the part of the Hugging Face Hub's HTTP API that a download uses."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread

import uvicorn
from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse

from tests.support.stack_process import free_port, wait_until

REPOSITORY = "org/tiny"
COMMIT = "0123456789abcdef0123456789abcdef01234567"


@contextmanager
def model_hub(folder: Path) -> Iterator[tuple[str, list[str]]]:
    """Serve the files of `folder` as `org/tiny`; yields the address and the paths of what was fetched."""
    fetched: list[str] = []
    app = FastAPI()

    @app.get("/api/models/org/tiny")
    @app.get("/api/models/org/tiny/revision/{revision}")
    def info(revision: str = "main") -> Response:
        if revision not in ("main", COMMIT):
            return JSONResponse({"error": "no"}, 404, headers={"X-Error-Code": "RevisionNotFound"})
        files = [{"rfilename": file.name, "size": file.stat().st_size} for file in sorted(folder.iterdir())]
        return JSONResponse({"id": REPOSITORY, "sha": COMMIT, "siblings": files, "private": False})

    @app.get("/api/models/org/tiny/tree/{revision}")
    def tree(revision: str) -> Response:
        assert revision == COMMIT
        files = [
            {"type": "file", "path": file.name, "size": file.stat().st_size, "oid": "0"} for file in folder.iterdir()
        ]
        return JSONResponse(files)

    @app.api_route("/org/tiny/resolve/{revision}/{name}", methods=["GET", "HEAD"])
    def file(revision: str, name: str, request: Request) -> Response:
        content = (folder / name).read_bytes()
        headers = {"ETag": f'"{hashlib.sha256(content).hexdigest()}"', "X-Repo-Commit": COMMIT}
        if request.method == "HEAD":
            return Response(headers=headers | {"Content-Length": str(len(content))})
        fetched.append(f"{revision}/{name}")
        return Response(content, headers=headers, media_type="application/octet-stream")

    @app.api_route("/{path:path}", methods=["GET", "HEAD"])
    def unknown(path: str) -> Response:
        return JSONResponse({"error": path}, 404, headers={"X-Error-Code": "RepoNotFound"})

    port = free_port()
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=port, log_level="error"))
    thread = Thread(target=server.run, daemon=True)
    thread.start()
    wait_until(lambda: server.started, 20)
    try:
        yield f"http://127.0.0.1:{port}", fetched
    finally:
        server.should_exit = True
        thread.join(10)
