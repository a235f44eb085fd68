"""A process that does one task after the other: ``python -m dpib.grids.child``, spoken to in lines of JSON.

It reads tasks on stdin and writes events and one answer per task to stdout; what the run prints goes to the task's
log. When stdin closes, because whoever started it is gone, it ends itself and all its processes at once: a run folder
is never held by an orphan.
"""

from __future__ import annotations

import json
import os
import queue
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from dpib.errors import DpibError, FolderInUse
from dpib.grids.base import Task
from dpib.progress import RunEvent
from dpib.spec import RunSpec

EVENT_EVERY_SECONDS = 0.5
BUSY_AFTER_SECONDS = 15.0
"""How long a task waits for a run folder that another process holds: one that was killed lets go within this."""

Send = Callable[[dict[str, Any]], None]


def _read_tasks(tasks: queue.SimpleQueue[Task]) -> None:
    for line in sys.stdin:
        plain = json.loads(line)
        tasks.put(Task(**{**plain, "plugins": tuple(plain["plugins"])}))
    if os.getpgrp() == os.getpid():
        os.killpg(0, signal.SIGKILL)
    os._exit(1)


def _sender(send: Send) -> Callable[[RunEvent], None]:
    """Return an observer that passes events on, progress within a stage at most twice a second."""
    last = 0.0

    def observe(event: RunEvent) -> None:
        nonlocal last
        if event.kind == "advanced" and time.monotonic() - last < EVENT_EVERY_SECONDS:
            return
        last = time.monotonic()
        send({"event": asdict(event)})

    return observe


def _do(task: Task, send: Send) -> dict[str, Any]:
    """Run a task and return the answer."""
    from dpib import plugins
    from dpib.job import prepare
    from dpib.runner import run_job

    for file in task.plugins:
        plugins.load_file(file)
    job, runs = prepare(RunSpec.from_plain(task.spec)), Path(task.runs)
    data_dir = Path(task.data_dir) if task.data_dir else None
    until = time.monotonic() + BUSY_AFTER_SECONDS
    while True:
        try:
            record = run_job(job, runs, data_dir, task.device, observers=(_sender(send),))
        except FolderInUse as error:
            if time.monotonic() > until:
                return {"state": "busy", "message": str(error)}
            time.sleep(0.2)
        else:
            return {"state": "done", "record": record.id}


def _peak_bytes() -> int:
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def main() -> None:
    """Do tasks until stdin closes."""
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]  # a log has what a killed run printed

    def send(message: dict[str, Any]) -> None:
        out.write(json.dumps(message) + "\n")
        out.flush()

    tasks: queue.SimpleQueue[Task] = queue.SimpleQueue()
    threading.Thread(target=_read_tasks, args=(tasks,), daemon=True).start()
    while True:
        task = tasks.get()
        task.log.parent.mkdir(parents=True, exist_ok=True)
        with task.log.open("a", encoding="utf-8") as log:
            os.dup2(log.fileno(), 1)
            os.dup2(log.fileno(), 2)
        print(f"== {task.name}, process {os.getpid()}", file=sys.stderr, flush=True)  # noqa: T201
        try:
            answer = _do(task, send)
        except Exception as error:  # noqa: BLE001  whatever a method raises is the outcome of its run
            text = traceback.format_exc()
            message = str(error) if isinstance(error, DpibError) else f"{type(error).__name__}: {error}"
            print(text, file=sys.stderr, flush=True)  # noqa: T201
            answer = {"state": "failed", "message": message, "traceback": text}
        send({"answer": {**answer, "peak_bytes": _peak_bytes()}})


if __name__ == "__main__":
    main()
