"""Pretrained diffusion pipelines of the library diffusers as image generators, by name and revision."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from dpib.api import ConfigError, PluginError
from dpib_plugins.pe.protocol import Samples


class DiffusersApi:
    """Text to image for random samples, image to image for variations, prompted with the class's name.

    Args:
        text_to_image: a pipeline that takes prompts.
        image_to_image: its counterpart that takes prompts, images and a strength.
        classes: names in label order.
        prompt: with ``{label}`` where the class's name goes.
        steps: denoising steps of a whole generation.
        batch_size: images per call.
    """

    def __init__(
        self,
        text_to_image: Any,
        image_to_image: Any,
        classes: tuple[str, ...],
        prompt: str,
        steps: int,
        batch_size: int,
    ) -> None:
        self._text_to_image, self._image_to_image = text_to_image, image_to_image
        self._prompts = [prompt.replace("{label}", name) for name in classes]
        self._steps, self._batch_size = steps, batch_size

    @classmethod
    def load(
        cls, name: str, revision: str, classes: tuple[str, ...], prompt: str, steps: int, batch_size: int, device: str
    ) -> DiffusersApi:
        """Return the generator for a pipeline of the Hugging Face Hub.

        Args:
            name: Hub id or folder.
            revision: commit of the repository, so that a record says what was run.
            classes: see the class, as for ``prompt``, ``steps`` and ``batch_size``.
            prompt: likewise.
            steps: likewise.
            batch_size: likewise.
            device: where the pipeline computes.

        Raises:
            ConfigError: if name or revision is missing.
            PluginError: if diffusers is not installed or the pipeline cannot be loaded.
        """
        if not (name and revision):
            raise ConfigError("api = 'diffusers' needs --set pipeline=OWNER/NAME and --set revision=COMMIT.")
        try:
            from diffusers import AutoPipelineForImage2Image, AutoPipelineForText2Image
        except ImportError as error:
            raise PluginError(
                "api = 'diffusers' needs the library. Do: pip install diffusers transformers accelerate"
            ) from error
        try:
            text = AutoPipelineForText2Image.from_pretrained(name, revision=revision, use_safetensors=True).to(device)
        except (OSError, ValueError) as error:
            raise PluginError(f"Cannot load the pipeline {name} at revision {revision}: {error}") from error
        image = AutoPipelineForImage2Image.from_pipe(text)
        for pipeline in (text, image):
            pipeline.set_progress_bar_config(disable=True)
        return cls(text, image, classes, prompt, steps, batch_size)

    def random(self, labels: Tensor, generator: torch.Generator) -> Samples:
        """Return new samples; see ``ImageApi``."""
        parts = [
            self._called(self._text_to_image, part, generator, num_inference_steps=self._steps)
            for part in labels.split(self._batch_size)
        ]
        return Samples.joined(parts)

    def variation(self, samples: Samples, labels: Tensor, degree: float, generator: torch.Generator) -> Samples:
        """Return variations; see ``ImageApi``. The degree is the pipeline's strength: at least one step is redone."""
        strength = max(degree, 1 / self._steps)
        parts = [
            self._called(
                self._image_to_image,
                part,
                generator,
                image=images.float() / 255,
                strength=strength,
                num_inference_steps=self._steps,
            )
            for part, images in zip(labels.split(self._batch_size), samples.images.split(self._batch_size), strict=True)
        ]
        return Samples.joined(parts)

    @torch.no_grad()
    def _called(self, pipeline: Any, labels: Tensor, generator: torch.Generator, **settings: Any) -> Samples:
        prompts = [self._prompts[label] for label in labels.tolist()]
        arrays = pipeline(prompt=prompts, generator=generator, output_type="np", **settings).images
        pixels = (torch.as_tensor(arrays).permute(0, 3, 1, 2) * 255).round().clamp(0, 255)
        return Samples(pixels.to(torch.uint8), torch.zeros(len(labels), 0))
