"""How thorough an audit is: four profiles (privacy 8.4). Imports no torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from dpib.errors import UnknownName

ProfileName = Literal["quick", "standard", "deep", "one-run"]
CONFIDENCE = 0.95


@dataclass(frozen=True)
class Profile:
    """Sizes of an audit.

    Attributes:
        runs: per world and game; half of them tune.
        games: base set and canary of each game; the first is also played with half noise and by the controls.
        copy_runs: runs of the copy test.
        one_run: runs of the one-run audit, and canaries in each; (0, 0) for none.
        epsilon: the claim that is tested if nobody says another.
        detects_half_noise: whether it has the power for it; if not, the control half-noise decides nothing.
    """

    name: ProfileName
    runs: int
    games: tuple[tuple[str, str], ...]
    copy_runs: int
    one_run: tuple[int, int] = (0, 0)
    epsilon: float = 10.0
    detects_half_noise: bool = True

    @property
    def n_tests(self) -> int:
        """Tests that share the level (Bonferroni): the games, the near-copy test, the one-run audit."""
        return len(self.games) + 1 + (self.one_run[0] > 0)

    @property
    def level(self) -> float:
        """Level of each test."""
        return (1 - CONFIDENCE) / self.n_tests


_FIRST = ("empty-class", "noise")
_FOUR = (
    _FIRST,
    ("empty-class", "checkerboard"),
    ("twenty-per-class", "mislabelled"),
    ("twenty-per-class", "duplicate"),
)
_PROFILES = (
    Profile("quick", 100, (_FIRST,), copy_runs=10, detects_half_noise=False),
    Profile("standard", 250, _FOUR, copy_runs=20),
    Profile("deep", 1000, _FOUR, copy_runs=50),
    Profile("one-run", 0, (), copy_runs=2, one_run=(4, 500), epsilon=1.0, detects_half_noise=False),
)


def profile(name: str) -> Profile:
    """Return a profile by name.

    Raises:
        UnknownName: if there is none; suggests the nearest.
    """
    known: dict[str, Profile] = {one.name: one for one in _PROFILES}
    if name not in known:
        raise UnknownName("profile", name, known)
    return known[name]
