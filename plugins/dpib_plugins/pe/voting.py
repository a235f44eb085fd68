"""One iteration's choice: every record votes for its nearest candidates, the noisy votes choose the parents."""

from __future__ import annotations

import torch
from torch import Tensor


def vote_rows(voters: Tensor, labels: Tensor, candidates: Tensor, nearest: int) -> Tensor:
    """Return for each record the candidates of its class that it votes for.

    A record's row depends on that record and the candidates alone. Its norm is exactly √k: k different candidates.

    Args:
        voters: features float64 (B, D), whole numbers (``features.on_grid``).
        labels: int64 (B,), in 0..K-1.
        candidates: features float64 (K, P, D) of the population, whole numbers.
        nearest: k, votes of a record, at most P.

    Returns:
        Float32 (B, P) of zeros and k ones in each row.
    """
    rows = torch.zeros(len(voters), candidates.shape[1], device=voters.device)
    for label, ours in enumerate(candidates):
        mine = (labels == label).nonzero().squeeze(1)
        further = ours.square().sum(1) - 2 * voters[mine] @ ours.T  # squared distance up to a constant of the voter
        chosen = further.topk(nearest, dim=1, largest=False).indices
        rows[mine] = rows[mine].scatter(1, chosen, 1.0)
    return rows


def choose_parents(votes: Tensor, threshold: float, generator: torch.Generator) -> Tensor:
    """Return the parents of the next population, drawn with replacement in proportion to votes above a threshold.

    A class in which no candidate passes the threshold draws uniformly.

    Args:
        votes: noisy counts (K, P).
        threshold: H, taken off every count; what is left below 0 counts 0.
        generator: public randomness.

    Returns:
        int64 (K, P), indices in 0..P-1.
    """
    weights = (votes.cpu().double() - threshold).clamp(min=0)
    weights = torch.where(weights.sum(1, keepdim=True) > 0, weights, torch.ones_like(weights))
    return torch.multinomial(weights, weights.shape[1], replacement=True, generator=generator)
