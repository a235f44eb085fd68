"""Every command and every piece of Python that README.md and docs/ show is run as it stands, or says why not."""

from __future__ import annotations

import os
import shlex
import shutil
import site
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer
from blocks import PAGES, ROOT, Block, blocks_of, notes_of, unfenced_commands

from dpib.cli.main import app

BLOCKS = [block for page in PAGES for block in blocks_of(page)]
LONGEST = 1800
"""Seconds that the blocks of one page may take together."""


def levels() -> Iterator[object]:
    """Yield (page, what may be used) for every page and every set of needs that its blocks have."""
    for page in sorted({block.page for block in BLOCKS}):
        shown = [block for block in BLOCKS if block.page == page and "not run" not in block.notes]
        for needs in sorted({block.needs for block in shown}, key=sorted):
            marks = [getattr(pytest.mark, need) for need in sorted(needs)]
            marks.append(pytest.mark.timeout(LONGEST))
            yield pytest.param(page, needs, marks=marks, id="+".join([page, *sorted(needs)]))


@pytest.fixture(scope="session")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Return the variables of an environment that sees this one's packages and can be installed into."""
    venv = tmp_path_factory.mktemp("docs") / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", venv], check=True)
    inside = Path(sysconfig.get_path("purelib", vars={"base": str(venv)}))
    lines = [f"import site; site.addsitedir({folder!r})" for folder in [*site.getsitepackages(), *_added()]]
    (inside / "host.pth").write_text("\n".join(lines) + "\n")
    for name in ("dpib", "pip"):
        script = venv / "bin" / name
        script.write_text(f'#!/bin/sh\nexec "{venv}/bin/python" -m {name} "$@"\n')
        script.chmod(0o755)
    tree = os.pathsep.join(str(ROOT / folder) for folder in ("core", "plugins", "leaderboard"))
    own = {"PATH": f"{venv}/bin{os.pathsep}{os.environ['PATH']}", "PYTHONPATH": tree, "HF_HUB_OFFLINE": "1"}
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("DPIB_", "PIP_"))}
    return {**kept, **own, "PIP_NO_INDEX": "1", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}


def _added() -> list[str]:
    """Return folders of packages that a .pth file added to this environment."""
    return [folder for folder in sys.path if folder.endswith("site-packages") and folder not in site.getsitepackages()]


def checkout(folder: Path) -> Path:
    """Return a folder that looks like a checkout to the pages' relative paths."""
    shutil.copytree(ROOT / "submissions", folder / "submissions")
    (folder / "experiments").symlink_to(ROOT / "experiments")
    if "DPIB_DATA" in os.environ:
        (folder / "data").symlink_to(os.environ["DPIB_DATA"])
    return folder


def run(block: Block, folder: Path, variables: dict[str, str]) -> None:
    program = ["python", "-c"] if block.language == "python" else ["bash", "-euo", "pipefail", "-c"]
    program[0] = shutil.which(program[0], path=variables["PATH"]) or program[0]
    done = subprocess.run(
        [*program, block.code], cwd=folder, env=variables, capture_output=True, text=True, stdin=subprocess.DEVNULL
    )
    output = done.stdout[-3000:] + done.stderr[-3000:]
    assert done.returncode == 0, f"{block.place} ends with {done.returncode}:\n{block.code}\n{output}"


@pytest.mark.parametrize(("page", "allowed"), levels())
def test_the_blocks_of_a_page_run_in_order(
    page: str, allowed: frozenset[str], tmp_path: Path, environment: dict[str, str]
) -> None:
    variables = dict(environment, DPIB_CACHE=str(tmp_path / "cache"), DPIB_DATASETS=str(tmp_path / "own"))
    if "mirror" in allowed:
        if "DPIB_DATA" not in os.environ:
            pytest.skip("DPIB_DATA names no mirror")
        variables["DPIB_DATA"] = os.environ["DPIB_DATA"]
    folder = checkout(tmp_path)
    for block in BLOCKS:
        if block.page == page and "not run" not in block.notes and block.needs <= allowed:
            run(block, folder, variables)


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: block.place)
def test_comments_above_a_block_are_whole(block: Block) -> None:
    assert block.notes.get("needs", "mirror") == "mirror", block.place
    if "slow" in block.notes:
        minutes, unit = block.notes["slow"].split()
        assert minutes.isdigit() and unit == "min", block.place
    if "not run" in block.notes:
        assert block.notes.keys() == {"not run"}, f"{block.place} is not run, so it needs nothing"
        assert len(block.notes["not run"].split()) >= 3, f"{block.place} gives no reason"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_every_comment_is_above_a_block(page: Path) -> None:
    heard = [note for block in blocks_of(page) for note in block.notes.items()]
    assert sorted(heard) == sorted(notes_of(page))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_no_command_hides_in_an_indented_block(page: Path) -> None:
    assert not unfenced_commands(page)


def shown_commands() -> Iterator[object]:
    """Yield (place, words) of every ``dpib`` command in a block that is not run."""
    for block in BLOCKS:
        if "not run" in block.notes and block.language != "python":
            for line in block.code.replace("\\\n", " ").splitlines():
                words = shlex.split(line, comments=True)
                if words[:1] == ["dpib"]:
                    yield pytest.param(words[1:], id=f"{block.place} {' '.join(words[1:3])}")


@pytest.mark.parametrize("words", shown_commands())
def test_a_command_that_is_not_run_has_options_that_exist(words: list[str]) -> None:
    group = typer.main.get_command(app)
    context = group.make_context("dpib", [], resilient_parsing=True)
    lazy = group.get_command(context, words[0])  # type: ignore[attr-defined]
    assert lazy is not None, words
    command = lazy.children.get("".join(words[1:2]), lazy).load()
    known = {spelling for one in command.params for spelling in [*one.opts, *one.secondary_opts]}
    assert {word for word in words if word.startswith("--")} <= known
