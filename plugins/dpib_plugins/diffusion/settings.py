"""Settings of diffusion models; defaults are the published ones for CIFAR-10 (DPImageBench, appendix B.2)."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from dpib.api import MethodConfig, TaskInfo
from dpib_plugins.diffusion.edm import Levels
from dpib_plugins.diffusion.samplers import SIGMA_MAX, SIGMA_MIN, Sampler
from dpib_plugins.diffusion.unet import UNet

Positive = Annotated[int, Field(ge=1)]


class NetworkConfig(MethodConfig):
    """The network, and what all of its trainings have in common."""

    width: int = Field(default=32, ge=4, multiple_of=4, description="channels of the U-Net at multiplier 1")
    multipliers: tuple[Positive, ...] = Field(
        default=(2, 4), min_length=1, description="of the width, one per level; each halves the resolution"
    )
    attention: tuple[Positive, ...] = Field(default=(16,), description="resolutions with attention after each block")
    blocks: int = Field(default=2, ge=1, description="residual blocks per level on the way down")
    patch: int = Field(default=1, ge=1, description="side of the pixel squares that enter as one position")
    averaging: float = Field(default=0.999, ge=0, lt=1, description="decay of the weights' moving average")
    label_dropout: float = Field(default=0.1, ge=0, lt=1, description="share of labels replaced by the null token")
    level_mean: float = Field(default=-1.2, description="mean of ln s over the noise levels s of training")
    level_std: float = Field(default=1.2, gt=0, description="standard deviation of ln s")

    def levels(self) -> Levels:
        """Return the noise levels of training, public and private."""
        return Levels(self.level_mean, self.level_std)

    def network(self, task: TaskInfo) -> UNet:
        """Return a new network for images of a task, from torch's global generator."""
        return UNet(task.shape, task.n_classes, self.width, self.multipliers, self.attention, self.blocks, self.patch)


class PretrainingConfig(NetworkConfig):
    """A network that learns from public images."""

    pretrain_steps: int = Field(default=200_182, ge=1, description="updates on public images")
    pretrain_batch: int = Field(default=1_024, ge=1, description="public images per update")
    pretrain_learning_rate: float = Field(default=3e-4, gt=0, description="public updates: step size of Adam")
    pretrain_flip: bool = Field(default=True, description="mirror half of the public images")

    def pretraining_basis(self, task: TaskInfo) -> dict[str, Any]:
        """Return architecture and public schedule: all methods on this network share a pretraining."""
        settings = self.model_dump(mode="json", include=set(PretrainingConfig.model_fields))
        return {"algorithm": "denoiser", "shape": task.shape, "n_classes": task.n_classes, "settings": settings}


class DiffusionConfig(NetworkConfig):
    """Hyper-parameters of a diffusion model that is trained with DP-SGD."""

    steps: int = Field(default=1_830, ge=1, description="noised updates")
    batch_size: int = Field(default=4_096, ge=1, description="records expected in the Poisson sample of an update")
    clipping_norm: float = Field(default=1e-3, gt=0, description="L2 bound on a record's gradient")
    noise_multiplicity: int = Field(default=32, ge=1, description="noised copies of a record, averaged before clipping")
    learning_rate: float = Field(default=3e-4, gt=0, description="noised updates: step size of Adam")
    noise_pool: int = Field(default=4_096, ge=2, description="public noise images that a noised update draws from")
    physical_batch: int | None = Field(
        default=None, ge=1, description="records per backward pass; none: as many as memory allows"
    )
    warm_up_steps: int = Field(default=2_000, ge=1, description="updates on images that a prelude released")
    warm_up_batch: int = Field(default=50, ge=1, description="released images per such update")
    warm_up_learning_rate: float = Field(default=3e-4, gt=0, description="such updates: step size of Adam")
    warm_up_augment: bool = Field(default=True, description="change released images at random (RandAugment)")
    sampler: Literal["euler", "heun"] = Field(default="euler", description="deterministic Euler or stochastic Heun")
    sampling_steps: int = Field(default=250, ge=1, description="noise levels; Heun evaluates the network twice at each")
    churn: float = Field(default=10.0, ge=0, description="Heun: noise that is added and removed again, over all steps")
    churn_min: float = Field(default=0.1, ge=0, description="Heun: lowest noise level with churn")
    churn_max: float = Field(default=50.0, ge=0, description="Heun: highest noise level with churn")
    sampling_level_min: float = Field(
        default=SIGMA_MIN,
        gt=0,
        lt=SIGMA_MAX,
        description="noise level at which sampling ends, with the denoised images",
    )
    sampling_batch: int = Field(default=500, ge=1, description="images that are generated at once")

    def image_sampler(self) -> Sampler:
        """Return the sampler."""
        return Sampler(
            self.sampler, self.sampling_steps, self.churn, self.churn_min, self.churn_max, self.sampling_level_min
        )


class PretrainedDiffusionConfig(DiffusionConfig, PretrainingConfig):
    """Hyper-parameters of a diffusion model that learns from public images first."""
