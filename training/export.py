"""From training state to `models/`: folders that stock diffusers and transformers load."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from diffusers import StableDiffusionPipeline

from training import autoencoder, denoiser, loop


def _save(pipeline: StableDiffusionPipeline, folder: Path) -> None:
    """Write a pipeline: UNet and autoencoder rest in float16, half the size.

    The text encoder stays in float32, because transformers loads weights in the precision they
    rest in and diffusers in float32.
    """
    pipeline.unet.half()
    pipeline.vae.half()
    pipeline.save_pretrained(folder)
    text = json.dumps(denoiser.SCHEDULER, indent=2) + "\n"
    (folder / "scheduler" / "scheduler_config.json").write_text(text, encoding="utf-8")


def export(folder: Path, models: Path, device: torch.device) -> None:
    """Write the final and the early pipeline and the further-trained decoder into `models`."""
    for name, target in (
        ("denoiser", "tiny-portraits"),
        ("denoiser-early", "tiny-portraits-early"),
    ):
        modules = loop.load(denoiser.stage, name=name, folder=folder, device=device)
        _save(denoiser.assemble(folder, modules, device), models / target)
    vae = loop.load(autoencoder.decoder_stage, name="decoder", folder=folder, device=device)["vae"]
    vae.half().save_pretrained(models / "tiny-portraits-vae-ft")
