"""A small private method with every kind of state: a noisy sum, DP-SGD with a moving average, a kept value."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from dpib.api import DpSgdPlan, Family, Method, MethodCard, MethodConfig, PrivateDataset, Synthesizer, hookimpl

CARD = MethodCard(name="toy", title="Toy", summary="For tests.", family=Family.EMBEDDING, noise_location="model")


class Mean(nn.Module):
    """A learnt mean image per class; per-record gradients come from an embedding."""

    def __init__(self, n_classes: int, size: int) -> None:
        super().__init__()
        self.table = nn.Embedding(n_classes, size)

    def forward(self, labels: Tensor) -> Tensor:
        return self.table(labels)


class Toy(Synthesizer):
    """Noisy class sums first, then a few DP-SGD steps towards the class means."""

    Config = MethodConfig

    def fit(self, private: PrivateDataset) -> None:
        channels, height, width = self.task.shape
        sums = private.noisy_sum(
            lambda images, labels: images.flatten(1).float() / 255,
            label="class sums",
            clipping_norm=8.0,
            noise_multiplier=20.0,
            by_class=True,
        )
        self.start = self.context.once("start", lambda: sums / (self.task.nominal_size / self.task.n_classes))
        with self.context.seeds.init("model"):
            self.model = Mean(self.task.n_classes, channels * height * width)
        with torch.no_grad():
            self.model.table.weight.copy_(self.start)
        plan = DpSgdPlan(steps=6, sample_rate=0.05, clipping_norm=1.0)

        def loss(images: Tensor, labels: Tensor) -> Tensor:
            return (self.model(labels) - images.flatten(1).float() / 255).square().mean(1)

        optimizer = torch.optim.Adam(self.model.parameters(), lr=0.01)
        private.train(self.model, loss, plan, label="train", optimizer=optimizer)

    def generate(self, labels: Tensor) -> Tensor:
        noise = torch.rand((len(labels), *self.task.shape), generator=self.context.seeds.torch("pixels"))
        means = self.model(labels).detach().view(-1, *self.task.shape)
        return ((0.8 * means + 0.2 * noise).clamp(0, 1) * 255).to(torch.uint8)


@hookimpl
def dpib_synthesizers() -> list[Method]:
    return [Method(card=CARD, implementation=f"{__name__}:Toy")]
