"""Stable Diffusion checkpoints as codec and denoiser: diffusers loads them, classes take the place of prompts."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, cast

import torch
from torch import Tensor, nn

from dpib.api import ConfigError, PluginError, TaskInfo
from dpib_plugins.latent.adapters import Denoiser
from dpib_plugins.latent.codec import sized
from dpib_plugins.latent.ddpm import TIMES

_WEIGHTS = "diffusion_pytorch_model.safetensors"
_FILES = ("scheduler/scheduler_config.json", *(f"{p}/{f}" for p in ("unet", "vae") for f in ("config.json", _WEIGHTS)))
"""All that is read. No pickles, no text encoder."""

_PLAIN: Mapping[str, Mapping[str, tuple[Any, ...]]] = {
    "unet": {
        "_class_name": ("UNet2DConditionModel",),
        "addition_embed_type": (None,),
        "class_embed_type": (None,),
        "encoder_hid_dim": (None,),
        "num_class_embeds": (None,),
        "time_cond_proj_dim": (None,),
    },
    "vae": {
        "_class_name": ("AutoencoderKL",),
        "latents_mean": (None,),
        "latents_std": (None,),
        "shift_factor": (None,),
    },
    "scheduler": {
        "num_train_timesteps": (TIMES, None),
        "prediction_type": ("epsilon", None),
        "rescale_betas_zero_snr": (False, None),
    },
}
"""What configurations must say, where None is a key that is absent: other checkpoints are refused by name."""


@dataclass(frozen=True)
class Checkpoint:
    """Which checkpoint: everything that a record says of it.

    Attributes:
        name: OWNER/NAME on the Hugging Face Hub, or a folder.
        revision: commit of the Hub repository; empty for a folder.
        sha256: over the files that are read, as ``fingerprint`` gives it; empty if not known yet.

    Raises:
        ConfigError: if the name is neither, or the revision is not a commit.
    """

    name: str
    revision: str
    sha256: str

    def __post_init__(self) -> None:
        if self.is_folder:
            if self.revision:
                raise ConfigError(f"backbone = '{self.name}' is a folder and has no revision: drop --set revision.")
        elif not re.fullmatch(r"[\w.-]+/[\w.-]+", self.name):
            raise ConfigError(f"backbone = '{self.name}': expected OWNER/NAME on the Hub, or a folder that exists.")
        elif not re.fullmatch(r"[0-9a-f]{40}", self.revision):
            raise ConfigError(
                f"backbone = '{self.name}' needs --set revision=COMMIT, the 40 hex digits of a commit of "
                f"https://huggingface.co/{self.name}; got '{self.revision}'. Branches and tags move."
            )

    @property
    def is_folder(self) -> bool:
        """Whether it lies on this machine under its own name."""
        return Path(self.name).is_dir()

    @property
    def address(self) -> str:
        """Name and revision, as records tell them."""
        return f"{self.name}@{self.revision}" if self.revision else self.name

    def files(self) -> Path:
        """Return the folder that holds the files, downloaded if need be, after comparing them with the SHA-256.

        Raises:
            PluginError: if files are missing, cannot be downloaded, or are others.
            ConfigError: if no SHA-256 is known; says what the files have.
        """
        folder = Path(self.name) if self.is_folder else self._downloaded()
        missing = [file for file in _FILES if not (folder / file).is_file()]
        if missing:
            raise PluginError(f"{self.address} lacks {', '.join(missing)}. Only safetensors are read, never pickles.")
        found, lines = fingerprint(folder)
        if not self.sha256:
            raise ConfigError(
                f"Nothing unchecked is loaded. The files of {self.address} have the SHA-256\n{lines}\n"
                f"Compare with what their publisher states, then add --set backbone_sha256={found}"
            )
        if found != self.sha256:
            raise PluginError(f"{self.address}: expected files with SHA-256 {self.sha256}, got {found}. Not loaded.")
        return folder

    def _downloaded(self) -> Path:
        from huggingface_hub import snapshot_download

        try:
            return Path(snapshot_download(self.name, revision=self.revision, allow_patterns=list(_FILES)))
        except (OSError, ValueError) as error:
            raise PluginError(
                f"Cannot download {self.address}: {error}. Connect, or place {', '.join(_FILES)} in a folder and name "
                "that with --set backbone=FOLDER."
            ) from error


def fingerprint(folder: Path) -> tuple[str, str]:
    """Return the SHA-256 over the files that are read, and the lines it is of: the SHA-256 of each and its name."""

    def digest(file: str) -> str:
        with (folder / file).open("rb") as opened:
            return hashlib.file_digest(opened, "sha256").hexdigest()

    lines = "\n".join(f"{digest(file)}  {file}" for file in _FILES)
    return hashlib.sha256(lines.encode()).hexdigest(), lines


class PretrainedCodec(nn.Module):
    """A pretrained KL autoencoder for images of another size; grey images are three equal channels inside.

    Args:
        vae: diffusers' ``AutoencoderKL``.
        shape: (channels, side, side) of an image.
        inner_side: images are resized to this side before the encoder, and back after the decoder.

    Attributes:
        latent_shape: (channels, side, side) of a latent.
        factor: pixels of the inner side per position of a latent.

    Raises:
        ConfigError: if the side does not fit.
    """

    def __init__(self, vae: Any, shape: tuple[int, int, int], inner_side: int | None) -> None:
        super().__init__()
        self._outer, self._inner = shape[1], inner_side or shape[1]
        self.factor = factor = 2 ** (len(vae.config.block_out_channels) - 1)
        if shape[1] != shape[2] or self._inner % factor:
            raise ConfigError(
                f"Images of {self._inner} pixels a side do not fit the backbone's autoencoder: expected a square whose "
                f"side is a multiple of {factor}. Use --set codec_side=…"
            )
        self.vae, self._channels, self._scale = vae, shape[0], float(vae.config.scaling_factor)
        self.latent_shape = (int(vae.config.latent_channels), self._inner // factor, self._inner // factor)

    @torch.no_grad()
    def encode(self, images: Tensor) -> Tensor:
        """Return the scaled posterior means of images in -1..1, without gradient: a function of each image alone."""
        colour = sized(images, self._inner).expand(-1, 3, -1, -1)
        return cast(Tensor, self.vae.encode(colour).latent_dist.mean * self._scale)

    @torch.no_grad()
    def decode(self, latents: Tensor) -> Tensor:
        """Return the images, about in -1..1, of scaled latents."""
        images = sized(self.vae.decode(latents / self._scale).sample, self._outer)
        return images if self._channels == 3 else images.mean(1, keepdim=True)


class PretrainedUNet(Denoiser):
    """A pretrained text-to-image U-Net that sees one trainable token per class instead of a prompt's 77.

    Args:
        unet: diffusers' ``UNet2DConditionModel``, trained to estimate noise.
        n_classes: K, rows of the class table, drawn from N(0, 1).
    """

    projections: ClassVar[Mapping[str, str]] = {"q": "to_q", "k": "to_k", "v": "to_v", "out": "to_out.0"}

    def __init__(self, unet: Any, n_classes: int) -> None:
        super().__init__()
        self.unet, self.classes = unet, nn.Embedding(n_classes, unet.config.cross_attention_dim)

    def _found(self, kind: type[nn.Module]) -> list[nn.Module]:
        parts = [self.unet.down_blocks, self.unet.mid_block, self.unet.up_blocks]
        return [module for part in parts for module in part.modules() if isinstance(module, kind)]

    @property
    def transformers(self) -> list[nn.Module]:
        """All transformers, in the order of the forward pass."""
        from diffusers.models.transformers.transformer_2d import Transformer2DModel

        return self._found(Transformer2DModel)

    @property
    def attentions(self) -> list[nn.Module]:
        """All attention, in the order of the forward pass."""
        from diffusers.models.attention_processor import Attention

        return self._found(Attention)

    def forward(self, x: Tensor, times: Tensor, labels: Tensor) -> Tensor:
        """Map noisy latents (N, C, H, W), time steps int64 (N,) and labels int64 (N,) to (N, C, H, W)."""
        return cast(Tensor, self.unet(x, times, self.classes(labels)[:, None], return_dict=False)[0])


def load(checkpoint: Checkpoint, task: TaskInfo, side: int | None) -> tuple[PretrainedCodec, Denoiser, Tensor]:
    """Return codec and denoiser of a checkpoint in float32, and its noise schedule ā, float64 (1000,).

    Args:
        checkpoint: which.
        task: shape and classes of the private images.
        side: that images are resized to for the autoencoder.

    Raises:
        PluginError: if diffusers is missing, or the checkpoint cannot be loaded.
        ConfigError: if it is of another kind, or its sizes do not fit.
    """
    try:
        from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
    except ImportError as error:
        raise PluginError(
            f"backbone needs more libraries ({error}). Do: pip install 'dpib[stable-diffusion]'"
        ) from error
    folder = checkpoint.files()
    _check_kind(checkpoint, folder)
    vae, unet = (
        _model(kind, folder, part, checkpoint)
        for kind, part in ((AutoencoderKL, "vae"), (UNet2DConditionModel, "unet"))
    )
    codec = PretrainedCodec(vae, task.shape, side)
    channels, latent_side, _ = codec.latent_shape
    if {unet.config.in_channels, unet.config.out_channels} != {channels}:
        raise ConfigError(
            f"{checkpoint.address}: the U-Net maps {unet.config.in_channels} to {unet.config.out_channels} channels, "
            f"latents have {channels}. Checkpoints for inpainting, depth or upscaling are not text-to-image."
        )
    factor = 2 ** (len(unet.config.block_out_channels) - 1)
    if latent_side % factor:
        whole = factor * codec.factor
        raise ConfigError(
            f"Latents of {latent_side}x{latent_side} do not fit the backbone's U-Net: expected a multiple of {factor}. "
            f"Use --set codec_side=… with a multiple of {whole}."
        )
    shares = DDIMScheduler.from_config(_config(folder, "scheduler")).alphas_cumprod.double()
    return codec, PretrainedUNet(unet, task.n_classes), shares


def _config(folder: Path, part: str) -> dict[str, Any]:
    name = "scheduler_config.json" if part == "scheduler" else "config.json"
    return cast(dict[str, Any], json.loads((folder / part / name).read_text(encoding="utf-8")))


def _check_kind(checkpoint: Checkpoint, folder: Path) -> None:
    problems = [
        f"{part} has {key} = {value!r}, expected {expected[0]!r}"
        for part, table in _PLAIN.items()
        for config in [_config(folder, part)]
        for key, expected in table.items()
        if (value := config.get(key)) not in expected
    ]
    if not isinstance(_config(folder, "unet").get("cross_attention_dim", 1280), int):
        problems.append("unet has more than one cross_attention_dim")
    if problems:
        raise ConfigError(f"{checkpoint.address} is no Stable Diffusion 1 or 2-base: {'; '.join(problems)}.")


def _model(kind: Any, folder: Path, part: str, checkpoint: Checkpoint) -> Any:
    try:
        model, report = kind.from_pretrained(
            folder,
            subfolder=part,
            use_safetensors=True,
            local_files_only=True,
            low_cpu_mem_usage=False,
            torch_dtype=torch.float32,
            output_loading_info=True,
        )
    except (OSError, ValueError, RuntimeError) as error:
        raise PluginError(f"Cannot load {part} of {checkpoint.address}: {error}") from error
    wrong = [*report["missing_keys"], *report["mismatched_keys"], *report["unexpected_keys"]]
    if wrong:
        raise PluginError(f"{part} of {checkpoint.address} does not match its configuration: {wrong[:3]}")
    return model
