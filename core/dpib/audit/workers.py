"""Spreads runs over processes that end with this one: at Ctrl-C, on an error, or when it is killed."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any, Protocol

from dpib import plugins
from dpib.errors import RunError
from dpib.progress import Task


class Job(Protocol):
    """Some runs: picklable, and picklable its result."""

    @property
    def runs(self) -> int:
        """How many runs it is worth, for progress."""

    def work(self) -> Any:
        """Do the runs."""


def default_workers() -> int:
    """Return the number of cores this process may use."""
    return len(os.sched_getaffinity(0))


def _prepare(plugin: Path | None) -> None:
    import torch

    torch.set_num_threads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides
    threading.Thread(target=_end_with_the_parent, daemon=True).start()
    if plugin is not None:
        plugins.load_file(plugin)


def _end_with_the_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _work(job: Job) -> Any:
    return job.work()


def results(jobs: Sequence[Job], n_workers: int, plugin: Path | None, task: Task) -> list[Any]:
    """Return the result of every job, in order.

    Args:
        jobs: any order; the longest should come first.
        n_workers: processes; 1 works in this one.
        plugin: single-file plugin that every worker loads.
        task: told how many runs are done.

    Raises:
        DpibError: what a job raised.
        RunError: if a process ended without an answer.
    """
    if n_workers == 1:
        return list(_here(jobs, task))
    before = set(multiprocessing.active_children())
    context = multiprocessing.get_context("spawn")
    executor = ProcessPoolExecutor(n_workers, context, initializer=_prepare, initargs=(plugin,))
    try:
        futures = {executor.submit(_work, job): index for index, job in enumerate(jobs)}
        found: list[Any] = [None] * len(jobs)
        for future in as_completed(futures):
            index = futures[future]
            found[index] = future.result()
            task.advance(jobs[index].runs)
    except BrokenProcessPool as error:
        raise RunError("A process of the audit was killed, perhaps for want of memory. Try --jobs 1.") from error
    except BaseException:
        for child in set(multiprocessing.active_children()) - before:
            child.terminate()
        raise
    finally:
        executor.shutdown(wait=True, cancel_futures=True)
    return found


def _here(jobs: Sequence[Job], task: Task) -> Iterator[Any]:
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        for job in jobs:
            yield job.work()
            task.advance(job.runs)
    finally:
        torch.set_num_threads(threads)
