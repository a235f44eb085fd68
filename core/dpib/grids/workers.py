"""Spreads jobs over processes that end with this one: at Ctrl-C, on an error, or when it is killed."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

from dpib import plugins
from dpib.errors import RunError
from dpib.grids.base import Job, OnDone


def _prepare(files: Sequence[Path]) -> None:
    import torch

    os.dup2(2, 1)  # what a plugin prints is no data
    torch.set_num_threads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides
    threading.Thread(target=_end_with_the_parent, daemon=True).start()
    for file in files:
        plugins.load_file(file)


def _end_with_the_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _work(job: Job) -> Any:
    return job.work()


def results(jobs: Sequence[Job], n_workers: int, files: Sequence[Path], on_done: OnDone) -> list[Any]:
    """Return the result of every job, in order. See ``Runner.compute``.

    Args:
        jobs: any order; the longest should come first.
        n_workers: processes; 1 works in this one.
        files: single-file plugins that every worker loads.
        on_done: told each job that is done.

    Raises:
        DpibError: what a job raised.
        RunError: if a process ended without an answer.
    """
    if n_workers == 1:
        return list(_here(jobs, on_done))
    before = set(multiprocessing.active_children())
    context = multiprocessing.get_context("spawn")
    executor = ProcessPoolExecutor(n_workers, context, initializer=_prepare, initargs=(tuple(files),))
    try:
        futures = {executor.submit(_work, job): index for index, job in enumerate(jobs)}
        found: list[Any] = [None] * len(jobs)
        for future in as_completed(futures):
            index = futures[future]
            found[index] = future.result()
            on_done(jobs[index])
    except BrokenProcessPool as error:
        raise RunError("A process was killed, perhaps for want of memory. Try --jobs 1.") from error
    except BaseException:
        for child in set(multiprocessing.active_children()) - before:
            child.terminate()
        raise
    finally:
        executor.shutdown(wait=True, cancel_futures=True)
    return found


def _here(jobs: Sequence[Job], on_done: OnDone) -> Iterator[Any]:
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        for job in jobs:
            yield job.work()
            on_done(job)
    finally:
        torch.set_num_threads(threads)
