"""The board as a Space: its file starts from a folder, and installs what dpib says it needs."""

from __future__ import annotations

import configparser
import importlib.metadata
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

from store_maker import sample_records, write_store

from dpib_leaderboard.rows import build_rows

ROOT = Path(__file__).parents[3]
SPACE = ROOT / "leaderboard" / "space"


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def _requirements(lines: list[str]) -> dict[str, str]:
    found = (re.match(r"([\w.-]+)(.*)", line.strip()) for line in lines if line.strip())
    return {one[1]: one[2] for one in found if one}


def _names(requirements: list[str]) -> set[str]:
    return {re.sub(r"[-_.]+", "-", name).lower() for name in _requirements(requirements)}


def _installed_with(names: set[str]) -> set[str]:
    """Return the distributions that pip installs with these, without any extra, of those that are here."""
    found, waiting = set(), set(names)
    while waiting:
        name = waiting.pop()
        found.add(name)
        try:
            needed = importlib.metadata.requires(name) or []
        except importlib.metadata.PackageNotFoundError:
            continue
        waiting |= _names([one for one in needed if "extra ==" not in one]) - found
    return found


REFUSE = """
import sys

REFUSED = {refused!r}

class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in REFUSED:
            raise ModuleNotFoundError(f"No module named {{name!r}} in the Space", name=name)

sys.meta_path.insert(0, Refuse())
"""


def _only_the_space_has(folder: Path) -> Path:
    """Write what makes every Python that starts with this folder on its path refuse what a Space does not install."""
    declared = _names((SPACE / "requirements.txt").read_text().splitlines())
    there = _installed_with(declared | {"gradio"}) | {"dpib"}
    packages = importlib.metadata.packages_distributions()
    refused = {module for module, owners in packages.items() if not _names(owners) & there}
    assert {"torch", "opacus", "dp_accounting"} <= refused
    (folder / "sitecustomize.py").write_text(REFUSE.format(refused=refused))
    return folder


def test_its_file_serves_the_board_of_a_folder_with_what_it_installs(tmp_path: Path) -> None:
    port, store = _free_port(), write_store(tmp_path / "store", sample_records())
    environment = os.environ | {
        "DPIB_STORE": str(store),
        "PORT": str(port),
        "PYTHONPATH": os.pathsep.join([str(_only_the_space_has(tmp_path)), *sys.path]),
        "XDG_CACHE_HOME": str(tmp_path / "cache"),
        "HF_HOME": str(tmp_path / "hf"),
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
        assert board["stale"] == ""
        assert len(board["records"]["id"]) == len(list(store.rglob("record.json")))
        assert any(board["rows"]["ranked"])
    finally:
        space.terminate()
        space.wait(20)


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


def test_the_table_of_the_records_that_ship_can_be_loaded(tmp_path: Path) -> None:
    """As the page on deployment makes it: the card names a file that is not in git."""
    shipped = ROOT / "submissions"
    for path in [shipped / "README.md", *shipped.rglob("record.json"), *shipped.rglob("review.json")]:
        copy = tmp_path / path.relative_to(shipped)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, copy)
    assert "build_rows(Path('my-store'))" in (ROOT / "docs" / "deploy-board.md").read_text()
    count = build_rows(tmp_path)
    import datasets

    rows = datasets.load_dataset(str(tmp_path), split="train", cache_dir=str(tmp_path / "cache"))
    assert len(rows) == count == len(list(tmp_path.rglob("record.json")))
