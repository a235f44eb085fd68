"""The board as a Space: its file starts from a folder, and installs what dpib says it needs."""

from __future__ import annotations

import configparser
import json
import os
import re
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

from store_maker import sample_records, write_store

ROOT = Path(__file__).parents[3]
SPACE = ROOT / "leaderboard" / "space"


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def test_its_file_serves_the_board_of_a_folder(tmp_path: Path) -> None:
    port, store = _free_port(), write_store(tmp_path / "store", sample_records())
    environment = os.environ | {
        "DPIB_STORE": str(store),
        "PORT": str(port),
        "PYTHONPATH": os.pathsep.join(sys.path),
        "XDG_CACHE_HOME": str(tmp_path / "cache"),
    }
    space = subprocess.Popen([sys.executable, SPACE / "app.py"], cwd=tmp_path, env=environment)
    try:
        for _ in range(120):
            assert space.poll() is None, "the Space ended"
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/v1/board") as answer:
                    board = json.load(answer)
                break
            except (urllib.error.URLError, ConnectionError):
                time.sleep(0.5)
        assert len(board["records"]["id"]) == len(list(store.rglob("record.json")))
    finally:
        space.terminate()
        space.wait(20)


def _requirements(lines: list[str]) -> dict[str, str]:
    found = (re.match(r"([\w.-]+)(.*)", line.strip()) for line in lines if line.strip())
    return {one[1]: one[2] for one in found if one}


def test_it_installs_the_versions_that_dpib_asks_for() -> None:
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    ours = _requirements(config["options"]["install_requires"].splitlines())
    theirs = _requirements((SPACE / "requirements.txt").read_text().splitlines())
    implied = {"numpy"}  # by pandas
    assert theirs.keys() - implied <= ours.keys()
    assert all(theirs[name] == ours[name] for name in theirs.keys() - implied)
    (sdk,) = re.findall(r"^sdk_version: (\d+)\.", (SPACE / "README.md").read_text(), flags=re.MULTILINE)
    assert f">={sdk}," in ours["gradio"] + ","
