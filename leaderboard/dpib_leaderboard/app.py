"""The board as a web application: Gradio is the shell, the widget and the API do the work."""

from __future__ import annotations

import os
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING

from dpib_leaderboard.api import build_api
from dpib_leaderboard.board import Board, kept_file
from dpib_leaderboard.build import builder, source_of

if TYPE_CHECKING:
    import gradio as gr
    from fastapi import FastAPI, Request, Response

STATIC = Path(__file__).parent / "static"
TITLE = "dpib board"
REFRESH_SECONDS = 300.0
HEAD = """
<meta name="color-scheme" content="light dark">
<link rel="icon" href="/widget/icon.svg" type="image/svg+xml">
<link rel="preload" href="/widget/board.css" as="style">
<link rel="preload" href="/v1/board.json" as="fetch" crossorigin="anonymous">
<script type="module">
import "/widget/main.js";
document.body.prepend(document.createElement("dpib-board"));
</script>
"""
"""The widget stands beside Gradio's root, not in it: it is drawn while Gradio's own scripts still load."""

CSS = """
html, body { background: light-dark(#fbfbfa, #15171a) !important; }
dpib-board { display: block; min-height: 100vh; }
gradio-app { display: none !important; }
"""
POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; font-src 'self' data:; connect-src 'self'; worker-src 'self' blob:; object-src 'none'"
)
READS = ("GET", "HEAD", "OPTIONS")
GRADIO_API = "/gradio_api"
"""Where Gradio takes uploads, hands out files and calls events; its page here has no event and needs nothing of it."""


def build_blocks() -> gr.Blocks:
    """Return the Gradio page, the frame that the widget is put into; it has no event of its own."""
    os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
    import gradio as gr

    with gr.Blocks(title=TITLE, fill_width=True, analytics_enabled=False) as blocks:
        gr.HTML("", padding=False, container=False)
    return blocks


def build_app(board: Board) -> FastAPI:
    """Return API, widget files and Gradio page as one application."""
    import gradio as gr
    from fastapi.responses import PlainTextResponse
    from fastapi.staticfiles import StaticFiles

    app = build_api(board)
    app.mount("/widget", StaticFiles(directory=STATIC), name="widget")

    @app.middleware("http")
    async def confine(request: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response:
        """Answer reads only, close Gradio's own interface, let pages load nothing from other sites, guess no types."""
        if request.method not in READS:
            response: Response = PlainTextResponse("The board is read-only.", 405, {"Allow": ", ".join(READS)})
        elif request.scope["path"].startswith(GRADIO_API):
            response = PlainTextResponse("Gradio's own interface is closed; the board's is /v1.", 404)
        else:
            response = await call_next(request)
        response.headers.setdefault("Content-Security-Policy", POLICY)
        response.headers.setdefault("X-Content-Type-Options", "nosniff")
        response.headers.setdefault("Referrer-Policy", "no-referrer")
        return response

    return gr.mount_gradio_app(app, build_blocks(), path="/", head=HEAD, css=CSS, footer_links=[])


def serve(store: str | None, port: int, host: str = "127.0.0.1") -> None:
    """Serve a board until interrupted; the store is read again every five minutes.

    Args:
        store: a folder, ``hf:ORG/REPO``, or None for the embedded store.
        port: where to listen.
        host: address to listen on.
    """
    import uvicorn

    source = source_of(store)
    board = Board(builder(store), source, kept_file(source))
    stop = threading.Event()
    board.watch(REFRESH_SECONDS, stop)
    try:
        uvicorn.run(build_app(board), host=host, port=port, log_level="warning")
    finally:
        stop.set()
