"""The local runner: ``jobs`` processes on this machine, each doing one task after the other."""

from __future__ import annotations

import os
import queue
import threading
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from dpib.errors import ConfigError
from dpib.grids.base import Job, OnDone, OnEvent, Outcome, Runner, RunnerSettings, Task
from dpib.grids.process import TaskProcess
from dpib.grids.workers import results


class LocalRunner(Runner):
    """Runs tasks in processes of this machine; ``jobs`` at a time, one run by default.

    Several jobs share the processor's cores evenly, unless ``OMP_NUM_THREADS`` says otherwise, and take turns on the
    GPUs there are, unless a task names one.
    """

    def __init__(self, settings: RunnerSettings) -> None:
        if settings.address is not None:
            raise ConfigError("The local runner has no address: drop --address, or choose another --runner.")
        super().__init__(settings)

    def run(self, tasks: Sequence[Task], on_event: OnEvent) -> Iterator[Outcome]:
        """Yield outcomes as they come; ends every process when closed."""
        waiting: queue.SimpleQueue[Task] = queue.SimpleQueue()
        for task in tasks:
            waiting.put(task)
        outcomes: queue.SimpleQueue[Outcome | BaseException] = queue.SimpleQueue()
        jobs = max(1, min(self.settings.jobs or 1, len(tasks)))
        gpus = [] if jobs == 1 or any(":" in task.device for task in tasks) else _gpus()
        processes = [TaskProcess(_environment(slot, jobs, gpus)) for slot in range(jobs)]
        threads = [
            threading.Thread(target=_work, args=(process, waiting, outcomes, on_event), daemon=True)
            for process in processes
        ]
        for thread in threads:
            thread.start()
        try:
            for _ in tasks:
                outcome = outcomes.get()
                if isinstance(outcome, BaseException):
                    raise outcome
                yield outcome
        finally:
            for process in processes:
                process.end()
            for thread in threads:
                thread.join(timeout=10)

    def compute(self, jobs: Sequence[Job], plugins: Sequence[Path], on_done: OnDone) -> list[Any]:
        """Return the result of every job; one process per core by default, and with one ``jobs`` this one."""
        return results(jobs, self.settings.jobs or len(os.sched_getaffinity(0)), plugins, on_done)


def _work(
    process: TaskProcess,
    waiting: queue.SimpleQueue[Task],
    outcomes: queue.SimpleQueue[Outcome | BaseException],
    on_event: OnEvent,
) -> None:
    try:
        while True:
            task = waiting.get_nowait()
            outcome = process.run(task, partial(on_event, task.digest))
            outcomes.put(outcome)
            if outcome.state == "interrupted":
                return
    except queue.Empty:
        return
    except BaseException as error:  # noqa: BLE001  a bug of the runner is raised where its caller waits
        outcomes.put(error)


def _environment(slot: int, jobs: int, gpus: Sequence[str]) -> dict[str, str]:
    """Return the variables of one of ``jobs`` processes, which take turns on ``gpus``."""
    if jobs == 1:
        return {}
    cores = len(os.sched_getaffinity(0))
    variables = {} if "OMP_NUM_THREADS" in os.environ else {"OMP_NUM_THREADS": str(max(1, cores // jobs))}
    return variables | ({"CUDA_VISIBLE_DEVICES": gpus[slot % len(gpus)]} if gpus else {})


def _gpus() -> list[str]:
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    if named is not None:
        return [name for name in named.split(",") if name]
    import torch

    return [str(number) for number in range(torch.cuda.device_count())]
