"""The runners that come with dpib. Imports no torch."""

from __future__ import annotations

from dpib.grids.base import RunnerCard, RunnerPlugin

RUNNERS = (
    RunnerPlugin(
        RunnerCard(name="local", summary="Processes on this machine."),
        "dpib.grids.local:LocalRunner",
    ),
    RunnerPlugin(
        RunnerCard(name="ray", summary="Tasks on a Ray cluster, local or remote.", needs="pip install 'dpib[ray]'"),
        "dpib.grids.on_ray:RayRunner",
    ),
)
