"""``dpib leaderboard``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

PORT = 7860


def leaderboard(
    store: Annotated[
        str | None, typer.Option(help="Folder or hf:ORG/REPO. Default: the records that ship with the checkout.")
    ] = None,
    port: Annotated[int, typer.Option(help="Port to listen on.", min=1, max=65535)] = PORT,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    export: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Write a static copy there instead of serving.")
    ] = None,
) -> None:
    """Serve the public board, or write a static copy of it.

    The copy is plain files for any web server; it reads no network.

        dpib leaderboard --export site
    """
    from dpib.cli.output import note
    from dpib.errors import StorageError
    from dpib_leaderboard.build import build, source_of
    from dpib_leaderboard.store import open_store

    source = source_of(store)
    if export is not None:
        from dpib_leaderboard.board import Board
        from dpib_leaderboard.export import export_site

        board = Board(lambda: build(open_store(store), source), source)
        if not board.refresh():
            raise StorageError(board.problem)
        count = export_site(board, export)
        note(f"{count} records and the paper's rows written to {export}. Look: python -m http.server -d {export}")
        return
    from dpib_leaderboard.app import serve

    note(f"Board of {source} at http://{host}:{port} (Ctrl-C stops it)")
    serve(store, port, host)
