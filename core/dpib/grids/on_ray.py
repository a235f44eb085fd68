"""The Ray runner: tasks on a cluster, each in the child process that the local runner uses. Needs the extra ``ray``.

Ray schedules, restarts what a lost machine was doing, and nothing else: the run folder is the state. It must lie on a
disk that every machine sees under one path, as must the images (``DPIB_DATA``).
"""

from __future__ import annotations

import atexit
import os
import pickle
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import RayError, RayTaskError

from dpib.errors import ConfigError, RunError
from dpib.grids.base import Job, OnDone, OnEvent, Outcome, Runner, Task
from dpib.grids.process import TaskProcess
from dpib.plugins import load_file
from dpib.progress import RunEvent

LOST_WORKERS = 5
"""How often Ray starts a task again after losing the process or machine that did it."""

POLL_SECONDS = 0.5
_FORWARDED = ("DPIB_DATA", "DPIB_PLUGINS", "HF_HOME", "HF_HUB_OFFLINE", "TORCH_HOME", "PYTHONPATH", "OMP_NUM_THREADS")
_process: TaskProcess | None = None


@ray.remote(num_cpus=0, max_restarts=-1)
class _Mailbox:
    """Where tasks leave events for the driver."""

    def __init__(self) -> None:
        self._events: list[tuple[str, dict[str, Any]]] = []

    def put(self, digest: str, event: dict[str, Any]) -> None:
        self._events.append((digest, event))

    def take(self) -> list[tuple[str, dict[str, Any]]]:
        events, self._events = self._events, []
        return events


def _do(task: Task, mailbox: Any) -> Outcome:
    """Do a task on a worker; its child process is kept for the next one."""
    global _process
    if _process is None:
        _process = TaskProcess()
        atexit.register(_process.end)
    digest = task.digest
    return _process.run(task, lambda event: mailbox.put.remote(digest, asdict(event)))


def _compute(pickled: bytes, plugins: tuple[str, ...]) -> Any:
    """Do a job on a worker; it is unpickled here, after the plugins that its classes may be from."""
    import torch

    torch.set_num_threads(1)
    for file in plugins:
        load_file(Path(file))
    job: Job = pickle.loads(pickled)
    return job.work()


class RayRunner(Runner):
    """Runs tasks on the cluster at ``address`` (``auto``: the one this machine is part of), else on a new local one.

    ``jobs`` limits how many run at a time; on a new local cluster it is its number of workers. A task asks for one
    CPU, for a GPU if it needs one, and for the memory that recorded runs like it took.
    """

    def run(self, tasks: Sequence[Task], on_event: OnEvent) -> Iterator[Outcome]:
        """Yield outcomes as they come; cancels what is left when closed.

        A task that asks for more than any machine of the cluster has fails without being sent.

        Raises:
            ConfigError: if the cluster cannot be reached.
        """
        self._connect()
        try:
            yield from self._run(tasks, on_event)
        finally:
            ray.shutdown()

    def compute(self, jobs: Sequence[Job], plugins: Sequence[Path], on_done: OnDone) -> list[Any]:
        """Return the result of every job; a task of one CPU each.

        Raises:
            ConfigError: if the cluster cannot be reached.
            DpibError: what a job raised.
            RunError: if Ray lost a job for good.
        """
        self._connect()
        try:
            return self._compute(jobs, tuple(str(path.resolve()) for path in plugins), on_done)
        finally:
            ray.shutdown()

    def _compute(self, jobs: Sequence[Job], plugins: tuple[str, ...], on_done: OnDone) -> list[Any]:
        remote = ray.remote(_compute).options(num_cpus=1, max_retries=LOST_WORKERS, retry_exceptions=False)
        found: list[Any] = [None] * len(jobs)
        waiting = list(reversed(range(len(jobs))))
        under_way: dict[Any, int] = {}
        while waiting or under_way:
            while waiting and len(under_way) < (self.settings.jobs or len(jobs)):
                index = waiting.pop()
                under_way[remote.remote(pickle.dumps(jobs[index]), plugins)] = index
            (reference,), _ = ray.wait(list(under_way), num_returns=1)
            index = under_way.pop(reference)
            try:
                found[index] = ray.get(reference)
            except RayTaskError as error:
                raise error.cause from error  # what the job raised, as it would have here
            except RayError as error:
                raise RunError(f"Ray lost a job: {str(error).strip().splitlines()[0]}") from error
            on_done(jobs[index])
        return found

    def _connect(self) -> None:
        variables = {name: os.environ[name] for name in _FORWARDED if name in os.environ}
        if self.settings.address is None and self.settings.jobs and "OMP_NUM_THREADS" not in variables:
            variables["OMP_NUM_THREADS"] = str(max(1, len(os.sched_getaffinity(0)) // self.settings.jobs))
        variables.setdefault("OMP_NUM_THREADS", "1")
        options: dict[str, Any] = {
            "runtime_env": {"env_vars": variables},
            "log_to_driver": False,
            "logging_level": "warning",
            "include_dashboard": False,
        }
        if self.settings.address is None:
            options |= {"num_cpus": self.settings.jobs} if self.settings.jobs else {}
            options["_node_ip_address"] = "127.0.0.1"  # nobody else's business: Ray runs what it is sent
        else:
            options = {key: value for key, value in options.items() if key != "include_dashboard"}
        try:
            ray.init(address=self.settings.address or "local", **options)
        except (ConnectionError, ValueError, RuntimeError) as error:
            hint = "If it was started with a token (~/.ray/auth_token), set RAY_AUTH_MODE=token."
            raise ConfigError(f"No Ray cluster at '{self.settings.address or 'local'}': {error}. {hint}") from error

    def _run(self, tasks: Sequence[Task], on_event: OnEvent) -> Iterator[Outcome]:
        mailbox = _Mailbox.remote()  # type: ignore[attr-defined]
        waiting, too_large = self._by_demand(tasks)
        yield from too_large
        under_way: dict[Any, Task] = {}
        most = self.settings.jobs or len(tasks)
        try:
            while waiting or under_way:
                while waiting and len(under_way) < most:
                    task = waiting.pop()
                    under_way[self._submit(task, mailbox)] = task
                ready, _ = ray.wait(list(under_way), num_returns=1, timeout=POLL_SECONDS)
                for digest, event in _taken(mailbox):
                    on_event(digest, RunEvent(**event))
                for reference in ready:
                    yield _outcome(reference, under_way.pop(reference))
        finally:
            for reference in under_way:
                ray.cancel(reference, force=True)

    def _submit(self, task: Task, mailbox: Any) -> Any:
        options = ray.remote(_do).options(
            name=task.name,
            num_cpus=1,
            num_gpus=task.gpus,
            memory=task.memory_bytes,
            max_retries=LOST_WORKERS,
            retry_exceptions=False,
        )
        return options.remote(task, mailbox)

    def _by_demand(self, tasks: Sequence[Task]) -> tuple[list[Task], list[Outcome]]:
        """Return the tasks that some machine can do, the last first, and the failures of the others."""
        nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        possible, too_large = [], []
        for task in reversed(tasks):
            wanted = {"CPU": 1, "GPU": task.gpus, "memory": task.memory_bytes or 0}
            if any(all(node.get(kind, 0) >= amount for kind, amount in wanted.items()) for node in nodes):
                possible.append(task)
            else:
                memory = f"{(task.memory_bytes or 0) / 2**30:.1f} GiB"
                message = f"No machine of the cluster has 1 CPU, {task.gpus} GPU and {memory}."
                too_large.append(Outcome(task.digest, task.name, "failed", message))
        return possible, too_large


def _taken(mailbox: Any) -> list[tuple[str, dict[str, Any]]]:
    """Return the events so far; none while the mailbox is moving because its machine was lost."""
    try:
        events: list[tuple[str, dict[str, Any]]] = ray.get(mailbox.take.remote(), timeout=10)
    except RayError:
        return []
    return events


def _outcome(reference: Any, task: Task) -> Outcome:
    began = time.monotonic()
    try:
        outcome: Outcome = ray.get(reference)
    except RayError as error:
        line = str(error).strip().splitlines()[0]
        return Outcome(
            task.digest, task.name, "killed", f"Ray lost it: {line}", str(error), seconds=time.monotonic() - began
        )
    return outcome
