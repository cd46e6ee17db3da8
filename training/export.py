"""From training state to `models/`: folders that stock diffusers and transformers load."""

from __future__ import annotations

import json
from pathlib import Path

from diffusers import AutoencoderKL
from torch import nn
from transformers import CLIPTokenizer

from training import decoder, denoiser, few_steps, loop, strength
from training.workspace import Workspace


def save_pipeline(work: Workspace, modules: nn.ModuleDict, folder: Path,
                  vae: AutoencoderKL | None = None) -> None:  # fmt: skip
    """Write a pipeline, with the autoencoder's own decoder unless `vae` is given.

    UNet and autoencoder are stored in float16. The text encoder stays in float32, because
    transformers loads weights in the precision that they are stored in and diffusers in float32.
    """
    pipeline = denoiser.assemble(work, modules)
    pipeline.vae = vae or pipeline.vae
    pipeline.unet.half()
    pipeline.vae.half()
    pipeline.save_pretrained(folder)
    forget_paths(folder)
    text = json.dumps(denoiser.SCHEDULER, indent=2) + "\n"
    (folder / "scheduler" / "scheduler_config.json").write_text(text, encoding="utf-8")


def forget_paths(folder: Path) -> None:
    """Remove from the configs where on this machine their weights came from."""
    for path in folder.rglob("config.json"):
        config = json.loads(path.read_text(encoding="utf-8"))
        config.pop("_name_or_path", None)
        path.write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")


def export_early(work: Workspace, models: Path) -> None:
    """Write the early checkpoint, its captions weakened so that the same guidance scale fits."""
    modules = loop.load(denoiser.early_stage, "early", work)
    tokenizer = CLIPTokenizer.from_pretrained(work.folder / "tokenizer")
    encoder, factor = modules["text_encoder"], denoiser.CAPTION_STRENGTH
    denoiser.scale_text_conditioning(encoder, tokenizer, factor)
    save_pipeline(work, modules, models / "tiny-portraits-early")


def export(work: Workspace, models: Path) -> None:
    """Write the final pipeline with the further-trained decoder, that decoder alone, and the
    changes with which few steps are enough."""
    vae = loop.load(decoder.stage, "decoder", work)["vae"]
    save_pipeline(work, strength.load_final(work), models / "tiny-portraits", vae)
    vae.save_pretrained(models / "tiny-portraits-vae-ft")
    forget_paths(models / "tiny-portraits-vae-ft")
    student = loop.load(few_steps.stage, "few-steps", work)["unet"]
    few_steps.save_changes(student, models / "tiny-portraits-lcm")


def export_style(work: Workspace, modules: nn.ModuleDict, folder: Path) -> None:
    """Write the styled pipeline; it has the final pipeline's decoder."""
    save_pipeline(work, modules, folder, loop.load(decoder.stage, "decoder", work)["vae"])
