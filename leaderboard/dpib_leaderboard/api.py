"""The read-only API of a board, which its own pages use.

=========================  =====================================================================================
address                    answer
=========================  =====================================================================================
``/v1/board``              the whole snapshot: columnar rows, ranks, records, cards. ``stale`` says why it is old;
                           503 with ``Retry-After`` until a first start has read its store
``/v1/records``            summaries of records; ``track``, ``dataset``, ``method``, ``limit``, ``offset``
``/v1/records/<id>``       one record: document, ledger, review, command; the id or its first 16 digits
``/v1/grids/<id>.png``     its sample grid
``/v1/methods``            cards of methods by name
``/v1/datasets``           cards of datasets by name
=========================  =====================================================================================

Every answer has an ``ETag`` and may be compressed; sent back as ``If-None-Match`` it gets 304. Any site may read it.
Each JSON address also answers with ``.json`` behind it: the name it has in a static copy.
"""

from __future__ import annotations

import gzip
import hashlib
import json
from typing import Annotated, Any

from fastapi import FastAPI, HTTPException, Query, Request, Response
from fastapi.responses import FileResponse
from fastapi.routing import APIRouter

from dpib.__about__ import __version__
from dpib_leaderboard.board import Board, grid_of, record_page

MAX_PAGE = 1_000
GZIP_FROM = 1_000
HEADERS = {
    "Access-Control-Allow-Origin": "*",
    "Cache-Control": "no-cache",
    "Vary": "Accept-Encoding",
    "X-Content-Type-Options": "nosniff",
}


class _Answers:
    """Encodes JSON answers; remembers the compressed board, the one that is large."""

    def __init__(self) -> None:
        self._board: tuple[str, bytes, bytes] = ("", b"", b"")

    def answer(self, request: Request, plain: Any) -> Response:
        """Return a value as JSON with its ETag, or 304."""
        body = json.dumps(plain, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()
        return self._send(request, hashlib.sha256(body).hexdigest()[:32], body, None)

    def board(self, request: Request, board: Board) -> Response:
        """Return the snapshot, encoded once per version."""
        snapshot, problem = board.snapshot, board.problem
        version = f"{snapshot['digest'][:24]}-{hashlib.sha256((snapshot['built'] + problem).encode()).hexdigest()[:8]}"
        if self._board[0] != version:
            body = json.dumps({**snapshot, "stale": problem}, ensure_ascii=False, separators=(",", ":")).encode()
            self._board = (version, body, gzip.compress(body, 6))
        return self._send(request, *self._board)

    @staticmethod
    def _send(request: Request, tag: str, body: bytes, packed: bytes | None) -> Response:
        headers = {**HEADERS, "ETag": f'W/"{tag}"'}
        known = [item.strip() for item in request.headers.get("if-none-match", "").split(",")]
        if "*" in known or f'W/"{tag}"' in known or f'"{tag}"' in known:
            return Response(status_code=304, headers=headers)
        if "gzip" in request.headers.get("accept-encoding", "") and len(body) >= GZIP_FROM:
            headers["Content-Encoding"] = "gzip"
            body = packed if packed is not None else gzip.compress(body, 6)
        return Response(body, media_type="application/json", headers=headers)


def api_routes(board: Board) -> APIRouter:
    """Return the routes of ``/v1`` for a board."""
    routes, answers = APIRouter(prefix="/v1"), _Answers()

    @routes.get("/board")
    @routes.get("/board.json", include_in_schema=False)
    def read_board(request: Request) -> Response:
        """The whole snapshot; 503 while a board that has none yet reads its store."""
        if not board.can_answer:
            raise HTTPException(503, "The store is being read.", headers={**HEADERS, "Retry-After": "1"})
        return answers.board(request, board)

    @routes.get("/methods")
    @routes.get("/methods.json", include_in_schema=False)
    def read_methods(request: Request) -> Response:
        """Cards of methods by name."""
        return answers.answer(request, board.snapshot["cards"]["methods"])

    @routes.get("/datasets")
    @routes.get("/datasets.json", include_in_schema=False)
    def read_datasets(request: Request) -> Response:
        """Cards of datasets by name."""
        return answers.answer(request, board.snapshot["cards"]["datasets"])

    @routes.get("/records")
    @routes.get("/records.json", include_in_schema=False)
    def read_records(
        request: Request,
        track: str | None = None,
        dataset: str | None = None,
        method: str | None = None,
        limit: Annotated[int, Query(ge=1, le=MAX_PAGE)] = 100,
        offset: Annotated[int, Query(ge=0)] = 0,
    ) -> Response:
        """Summaries of records, oldest address first; ``total`` counts all that match."""
        columns = board.snapshot["records"]
        wanted = {name: value for name, value in (("track", track), ("dataset", dataset), ("method", method)) if value}
        count = len(columns.get("id", []))
        found = [i for i in range(count) if all(columns[name][i] == value for name, value in wanted.items())]
        page = [{name: column[i] for name, column in columns.items()} for i in found[offset : offset + limit]]
        return answers.answer(request, {"total": len(found), "offset": offset, "records": page})

    @routes.get("/records/{identity}")
    def read_record(request: Request, identity: str) -> Response:
        """One record with its ledger, review and command."""
        entry = board.entry(identity.removesuffix(".json"))
        if entry is None:
            raise HTTPException(404, "No such record. Give its id or the first 16 digits of it.", headers=HEADERS)
        return answers.answer(request, record_page(entry))

    @routes.get("/grids/{name}")
    def read_grid(name: str) -> Response:
        """The sample grid of a record."""
        entry = board.entry(name.removesuffix(".png"))
        grid = None if entry is None else grid_of(entry)
        if grid is None:
            raise HTTPException(404, "No such grid.", headers=HEADERS)
        return FileResponse(grid, media_type="image/png", headers={**HEADERS, "Cache-Control": "max-age=86400"})

    return routes


def build_api(board: Board) -> FastAPI:
    """Return the API alone, without pages."""
    api = FastAPI(
        title="dpib board", version=__version__, docs_url=None, redoc_url=None, openapi_url="/v1/openapi.json"
    )
    api.include_router(api_routes(board))
    return api
