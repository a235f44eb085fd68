"""Pixel-space diffusion models: what dpdm, pdp-diffusion, dp-ldm-sd and further methods share."""
