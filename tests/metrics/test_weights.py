"""Weights: fetched whole or not at all, checked before every use, one message that says what to do."""

from __future__ import annotations

import hashlib
import io
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
import torch

from dpib.errors import MetricError
from dpib.metrics.weights import PublishedWeights


@pytest.fixture
def content() -> bytes:
    buffer = io.BytesIO()
    torch.save({"a": torch.arange(3.0)}, buffer)
    return buffer.getvalue()


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setattr(torch.hub, "_hub_dir", None)
    return tmp_path / "torch" / "hub" / "checkpoints"


def published(tmp_path: Path, content: bytes, sha256: str | None = None) -> PublishedWeights:
    source = tmp_path / "source" / "net.pth"
    source.parent.mkdir(exist_ok=True)
    source.write_bytes(content)
    return PublishedWeights(source.as_uri(), sha256 or hashlib.sha256(content).hexdigest())


def test_weights_are_fetched_once_and_checked_at_every_use(tmp_path, cache, content):
    weights = published(tmp_path, content)
    assert torch.equal(weights.load()["a"], torch.arange(3.0))
    (tmp_path / "source" / "net.pth").unlink()
    assert list(cache.iterdir()) == [weights.path]
    weights.load()
    weights.path.write_bytes(content[:-1])
    with pytest.raises(MetricError, match=r"expected SHA-256 .* not loaded\. Do: curl"):
        weights.load()


def test_a_wrong_file_is_not_kept(tmp_path, cache, content):
    with pytest.raises(MetricError, match="not loaded"):
        published(tmp_path, content, sha256="0" * 64).load()
    assert list(cache.iterdir()) == []


@pytest.mark.parametrize("offline", [False, True])
def test_missing_weights_name_the_command_that_places_them(cache, monkeypatch, offline):
    monkeypatch.setenv("HF_HUB_OFFLINE", str(int(offline)))
    weights = PublishedWeights("file:///nowhere/net.pth", "0" * 64)
    with pytest.raises(MetricError, match=f"missing.*Do: curl --create-dirs -L -o {cache}/net.pth file:///nowhere"):
        weights.load()
    assert not cache.exists() or list(cache.iterdir()) == []


def test_an_interrupted_download_leaves_nothing(cache, content):
    class Half(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content[: len(content) // 2])

        def log_message(self, *_):
            pass

    with HTTPServer(("127.0.0.1", 0), Half) as server:
        threading.Thread(target=server.handle_request, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}/net.pth"
        with pytest.raises(MetricError, match="Do: curl") as caught:
            PublishedWeights(address, hashlib.sha256(content).hexdigest()).load()
    assert "ended after" in str(caught.value) or "failed" in str(caught.value)
    assert list(cache.iterdir()) == []
