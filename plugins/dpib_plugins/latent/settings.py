"""Settings of latent diffusion; defaults are the published ones for CIFAR-10 (DPImageBench, appendix B.2)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Field
from torch import Tensor

from dpib.api import MethodConfig, TaskInfo
from dpib_plugins.diffusion.public import PublicSchedule
from dpib_plugins.latent.adapters import Denoiser
from dpib_plugins.latent.backbone import Checkpoint, PretrainedCodec, load
from dpib_plugins.latent.codec import Codec
from dpib_plugins.latent.ddpm import signal_shares
from dpib_plugins.latent.unet import LatentUNet

Positive = Annotated[int, Field(ge=1)]


class CodecConfig(MethodConfig):
    """The autoencoder and its public training."""

    latent_channels: int = Field(default=3, ge=1, description="channels of a latent")
    codec_width: int = Field(
        default=128, ge=4, multiple_of=4, description="channels of the autoencoder at multiplier 1"
    )
    codec_multipliers: tuple[Positive, ...] = Field(
        default=(1, 2), min_length=1, description="of codec_width, one per level; each but the first halves the side"
    )
    codec_attention: tuple[Positive, ...] = Field(
        default=(16, 8), description="resolutions of the autoencoder with attention after each block"
    )
    codec_blocks: int = Field(default=2, ge=1, description="residual blocks per level of the encoder")
    codec_side: int | None = Field(default=None, ge=4, description="resize images to this side for the autoencoder")
    codec_steps: int = Field(default=80_072, ge=1, description="updates of the autoencoder on public images")
    codec_batch: int = Field(default=64, ge=1, description="public images per update of the autoencoder")
    codec_learning_rate: float = Field(default=6.4e-5, gt=0, description="autoencoder: step size of Adam")
    codec_averaging: float = Field(default=0.0, ge=0, lt=1, description="decay of the autoencoder's moving average")
    kl_weight: float = Field(default=1e-6, ge=0, description="weight of the posterior's divergence from N(0, 1)")

    def codec(self, task: TaskInfo) -> Codec:
        """Return a new autoencoder for images of a task, from torch's global generator."""
        return Codec(
            task.shape,
            self.latent_channels,
            self.codec_width,
            self.codec_multipliers,
            self.codec_attention,
            self.codec_blocks,
            self.codec_side,
        )

    def codec_schedule(self) -> PublicSchedule:
        """Return how the autoencoder is trained."""
        return PublicSchedule(
            steps=self.codec_steps,
            batch_size=self.codec_batch,
            learning_rate=self.codec_learning_rate,
            averaging=self.codec_averaging,
            label_dropout=0.0,
        )


class PublicConfig(CodecConfig):
    """Autoencoder and denoiser, and all of their public training."""

    width: int = Field(default=32, ge=8, multiple_of=8, description="channels of the U-Net at multiplier 1")
    multipliers: tuple[Positive, ...] = Field(
        default=(1, 2, 2), min_length=1, description="of the width, one per level; each but the first halves the side"
    )
    attention: tuple[Positive, ...] = Field(
        default=(1, 2, 4), description="factors of downsampling at which blocks are followed by transformers"
    )
    blocks: int = Field(default=2, ge=1, description="residual blocks per level on the way down")
    pretrain_steps: int = Field(default=200_182, ge=1, description="updates of the denoiser on public images")
    pretrain_batch: int = Field(default=1_024, ge=1, description="public images per update of the denoiser")
    pretrain_learning_rate: float = Field(default=1.024e-3, gt=0, description="public updates: step size of Adam")
    pretrain_averaging: float = Field(
        default=0.9999, ge=0, lt=1, description="public updates: decay of the weights' moving average"
    )
    pretrain_flip: bool = Field(default=True, description="mirror half of the public images")

    def network(self, task: TaskInfo, codec: Codec) -> LatentUNet:
        """Return a new denoiser for latents of the autoencoder, from torch's global generator."""
        return LatentUNet(codec.latent_shape, task.n_classes, self.width, self.multipliers, self.attention, self.blocks)

    def pretrain_schedule(self) -> PublicSchedule:
        """Return how the denoiser is pretrained."""
        return PublicSchedule(
            steps=self.pretrain_steps,
            batch_size=self.pretrain_batch,
            learning_rate=self.pretrain_learning_rate,
            averaging=self.pretrain_averaging,
            label_dropout=0.0,
        )

    def pretraining_basis(self, task: TaskInfo) -> dict[str, Any]:
        """Return architecture and public schedule: both methods share a pretraining."""
        settings = self.model_dump(mode="json", include=set(PublicConfig.model_fields))
        return {"algorithm": "latent denoiser", "shape": task.shape, "n_classes": task.n_classes, "settings": settings}


class LatentConfig(PublicConfig):
    """Hyper-parameters of a latent diffusion model that is trained with DP-SGD."""

    backbone: str = Field(
        default="", description="pretrained Stable Diffusion instead of public images: OWNER/NAME on the Hub, or folder"
    )
    revision: str = Field(default="", description="backbone: commit of its repository on the Hub")
    backbone_sha256: str = Field(default="", description="backbone: SHA-256 over its files; a run without it tells it")
    steps: int = Field(default=1_830, ge=1, description="noised updates")
    batch_size: int = Field(default=4_096, ge=1, description="records expected in the Poisson sample of an update")
    clipping_norm: float = Field(default=1e-3, gt=0, description="L2 bound on a record's gradient")
    noise_multiplicity: int = Field(default=1, ge=1, description="noised copies of a record, averaged before clipping")
    learning_rate: float = Field(default=4.096e-3, gt=0, description="noised updates: step size of AdamW")
    learning_rate_rise: int = Field(
        default=0, ge=0, description="noised updates over which the step size rises from zero"
    )
    averaging: float = Field(default=0.0, ge=0, lt=1, description="noised updates: decay of the moving average")
    noise_pool: int = Field(default=4_096, ge=2, description="public noise latents that a noised update draws from")
    physical_batch: int | None = Field(
        default=None, ge=1, description="records per backward pass; none: as many as memory allows"
    )
    warm_up_steps: int = Field(default=2_000, ge=1, description="updates on images that a prelude released")
    warm_up_batch: int = Field(default=50, ge=1, description="released images per such update")
    warm_up_learning_rate: float = Field(default=3e-4, gt=0, description="such updates: step size of Adam")
    warm_up_augment: bool = Field(default=True, description="change released images at random (RandAugment)")
    sampling_steps: int = Field(default=200, ge=1, le=1_000, description="denoiser evaluations per image (DDIM)")
    eta: float = Field(default=1.0, ge=0, le=1, description="DDIM: share of fresh noise; 0 is deterministic")
    sampling_batch: int = Field(default=500, ge=1, description="images that are generated at once")

    def public_weights(self) -> Mapping[str, str]:
        """Return the backbone with its SHA-256, if there is one."""
        one = self._checkpoint()
        return {one.address: one.sha256} if one else {}

    def models(self, task: TaskInfo) -> tuple[Codec | PretrainedCodec, Denoiser, Tensor]:
        """Return autoencoder, denoiser and noise schedule: new ones, or those of the backbone."""
        one = self._checkpoint()
        if one:
            return load(one, task, self.codec_side)
        codec = self.codec(task)
        return codec, self.network(task, codec), signal_shares()

    def warm_up_schedule(self) -> PublicSchedule:
        """Return how the denoiser learns from images that a prelude released."""
        return PublicSchedule(
            steps=self.warm_up_steps,
            batch_size=self.warm_up_batch,
            learning_rate=self.warm_up_learning_rate,
            averaging=self.pretrain_averaging,
            label_dropout=0.0,
        )

    def _checkpoint(self) -> Checkpoint | None:
        return Checkpoint(self.backbone, self.revision, self.backbone_sha256) if self.backbone else None
