"""Diffusion in the latent space of an autoencoder: what dp-ldm and dp-lora share."""
