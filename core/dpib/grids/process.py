"""The other end of ``dpib.grids.child``: starts it, feeds it, ends it in time, and tells what killed it."""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from dpib.grids.base import Outcome, State, Task
from dpib.progress import RunEvent

IMAGES_PER_PASS = "DPIB_IMAGES_PER_PASS"
"""Environment variable: most images in one pass of DP-SGD (``dpib.privacy.engine.batches``)."""

_SMALLER_PASSES = ("16", "4", "1")
"""Limits for the attempts after a process that ran out of memory."""

MOST_KILLS = 2
"""How often a task whose process was killed from outside is resumed."""

Emit = Callable[[RunEvent], None]


class TaskProcess:
    """One child process and what it is doing. Not to be shared by threads, ``end`` apart.

    Args:
        environment: variables to set in the child.
    """

    def __init__(self, environment: Mapping[str, str] | None = None) -> None:
        self._environment = dict(environment or {})
        self._child: subprocess.Popen[bytes] | None = None
        self._ended = False

    def run(self, task: Task, emit: Emit) -> Outcome:
        """Do a task, again with smaller passes after running out of memory, and after a kill; resume makes that cheap.

        Args:
            task: what to do.
            emit: told what happens.
        """
        began, attempts, kills = time.monotonic(), 0, 0
        deadline = None if task.timeout_seconds is None else began + task.timeout_seconds
        smaller = self._smaller_passes()
        limit: str | None = None
        while True:
            attempts += 1
            outcome = self._once(task, emit, limit, deadline)
            if outcome.state == "out-of-memory" and (limit := next(smaller, None)):
                emit(RunEvent("note", "", message=f"{task.name}: out of memory; again with {limit} images per pass"))
            elif outcome.state == "killed" and kills < MOST_KILLS and not self._ended:
                kills += 1
                emit(RunEvent("note", "", message=f"{task.name}: {outcome.message} Resuming."))
            else:
                break
        if limit is not None:
            self._drop()
        return replace(outcome, seconds=round(time.monotonic() - began, 3), attempts=attempts)

    def end(self) -> None:
        """Kill the child with all its processes, from any thread; a running ``run`` returns ``interrupted``."""
        self._ended = True
        self._kill()

    def _smaller_passes(self) -> Iterator[str]:
        """Yield limits below the one that is set already."""
        given = {**os.environ, **self._environment}.get(IMAGES_PER_PASS, "")
        yield from (limit for limit in _SMALLER_PASSES if not given.isdigit() or int(limit) < int(given))

    def _start(self, limit: str | None) -> subprocess.Popen[bytes]:
        extra = {} if limit is None else {IMAGES_PER_PASS: limit}
        self._child = subprocess.Popen(
            [sys.executable, "-m", "dpib.grids.child"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, **self._environment, **extra},
            start_new_session=True,
        )
        if self._ended:
            self._kill()
        return self._child

    def _kill(self) -> None:
        child = self._child
        if child is not None and child.poll() is None:
            os.killpg(child.pid, signal.SIGKILL)

    def _drop(self) -> int:
        """End the child, if there is one, and return its exit code."""
        child, code = self._child, 0
        if child is not None:
            self._kill()
            code = child.wait()
            for pipe in (child.stdin, child.stdout):
                if pipe is not None:
                    with contextlib.suppress(BrokenPipeError):  # what was not sent is still in the buffer
                        pipe.close()
        self._child = None
        return code

    def _once(self, task: Task, emit: Emit, limit: str | None, deadline: float | None) -> Outcome:
        if self._ended:
            return _ended(task, "interrupted", "Stopped before it began.")
        if limit is not None or (self._child is not None and self._child.poll() is not None):
            self._drop()
        ooms = _oom_kills()
        child = self._child or self._start(limit)
        try:
            assert child.stdin is not None
            child.stdin.write((json.dumps(asdict(task)) + "\n").encode())
            child.stdin.flush()
            answer = _listen(child, deadline, emit)
        except BrokenPipeError:
            answer = None
        except TimeoutError:
            self._drop()
            minutes = (task.timeout_seconds or 0) / 60
            return _ended(task, "timed-out", f"Stopped after {minutes:g} minutes; the next call resumes it.")
        if answer is not None and answer["state"] == "done" and not task.gpus:
            return Outcome(task.digest, task.name, **answer)
        code = self._reap() if answer is None else self._drop()  # a process that failed, or held a GPU, is not reused
        if answer is not None:
            return Outcome(task.digest, task.name, **answer)
        if self._ended:
            return _ended(task, "interrupted", "Stopped; the next call resumes it.")
        if code == -signal.SIGKILL and _oom_kills() > ooms:
            return _ended(task, "out-of-memory", "The system ended the process because memory ran out.")
        how = f"signal {-code}" if code < 0 else f"exit code {code}"
        return _ended(task, "killed", f"The process ended with {how}; see {task.log}.")

    def _reap(self) -> int:
        """Return the exit code of a child that closed its output, without killing it first if it is just ending."""
        child = self._child
        try:
            code = 0 if child is None else child.wait(timeout=10)
        except subprocess.TimeoutExpired:
            return self._drop()
        self._kill_group_of(child)
        self._drop()
        return code

    @staticmethod
    def _kill_group_of(child: subprocess.Popen[bytes] | None) -> None:
        """End what a dead child may have left of its process group."""
        try:
            if child is not None:
                os.killpg(child.pid, signal.SIGKILL)
        except ProcessLookupError:
            return


def _ended(task: Task, state: State, message: str) -> Outcome:
    return Outcome(task.digest, task.name, state, message)


def _listen(child: subprocess.Popen[bytes], deadline: float | None, emit: Emit) -> dict[str, Any] | None:
    """Pass events on until the answer comes; None if the child ends without one.

    Raises:
        TimeoutError: if the deadline passes.
    """
    assert child.stdout is not None
    descriptor, buffer = child.stdout.fileno(), b""
    with selectors.DefaultSelector() as selector:
        selector.register(descriptor, selectors.EVENT_READ)
        while True:
            left = None if deadline is None else deadline - time.monotonic()
            if (left is not None and left <= 0) or not selector.select(left):
                raise TimeoutError
            chunk = os.read(descriptor, 65536)
            if not chunk:
                return None
            *lines, buffer = (buffer + chunk).split(b"\n")
            for line in lines:
                message = json.loads(line)
                if "answer" in message:
                    answer: dict[str, Any] = message["answer"]
                    return answer
                emit(RunEvent(**message["event"]))


def _oom_kills() -> int:
    """Return how many processes the kernel has ended for memory since it started; 0 where it does not tell."""
    counts = 0
    for path, key in (("/proc/vmstat", "oom_kill"), ("/sys/fs/cgroup/memory.events", "oom_kill")):
        try:
            lines = Path(path).read_text().splitlines()
        except OSError:
            continue
        counts += sum(int(line.split()[1]) for line in lines if line.split()[0] == key)
    return counts
