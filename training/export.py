"""From training state to `models/`: folders that stock diffusers and transformers load."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from diffusers import StableDiffusionPipeline
from transformers import CLIPTokenizer

from training import autoencoder, denoiser, few_steps, loop


def _save(pipeline: StableDiffusionPipeline, folder: Path) -> None:
    """Write a pipeline: UNet and autoencoder rest in float16, half the size.

    The text encoder stays in float32, because transformers loads weights in the precision they
    rest in and diffusers in float32.
    """
    pipeline.unet.half()
    pipeline.vae.half()
    pipeline.save_pretrained(folder)
    _forget_place(folder)
    text = json.dumps(denoiser.SCHEDULER, indent=2) + "\n"
    (folder / "scheduler" / "scheduler_config.json").write_text(text, encoding="utf-8")


def _forget_place(folder: Path) -> None:
    """Take out of the configs where on this machine their weights came from."""
    for path in folder.rglob("config.json"):
        config = json.loads(path.read_text(encoding="utf-8"))
        config.pop("_name_or_path", None)
        path.write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")


def save_changes(unet: torch.nn.Module, folder: Path) -> None:
    """Write the low-rank changes to a UNet as diffusers and PEFT name and shape them."""
    layers = {}
    for name, layer in unet.named_modules():
        if change := few_steps.change_of(layer):
            kernel = layer.weight.shape[2:]
            down = change.down.reshape(len(change.down), -1, *kernel)
            up = change.up.reshape(*change.up.shape, *(1 for _ in kernel))
            layers |= {f"{name}.lora_A.weight": down.half(), f"{name}.lora_B.weight": up.half()}
    StableDiffusionPipeline.save_lora_weights(folder, unet_lora_layers=layers)


def export(folder: Path, models: Path, device: torch.device) -> None:
    """Write what was trained into `models`: the early pipeline with the decoder that it was trained
    with, the final one with the further-trained decoder, that decoder alone, and the changes that
    make a few steps enough. Training that went on from shipped weights has no early state to show,
    and leaves the early pipeline as it is."""
    vae = loop.load(autoencoder.decoder_stage, name="decoder", folder=folder, device=device)["vae"]
    if not (folder / "start").exists():
        modules = loop.load(denoiser.stage, name="denoiser-early", folder=folder, device=device)
        tokenizer = CLIPTokenizer.from_pretrained(folder / "tokenizer")  # use changes what is saved
        denoiser.narrow(modules["text_encoder"], tokenizer)  # so that the same guidance fits it
        _save(denoiser.assemble(folder, modules, device), models / "tiny-portraits-early")
    modules = loop.load(denoiser.strength_stage, name="strength", folder=folder, device=device)
    final = denoiser.assemble(folder, modules, device)
    final.vae = vae
    _save(final, models / "tiny-portraits")
    vae.save_pretrained(models / "tiny-portraits-vae-ft")
    _forget_place(models / "tiny-portraits-vae-ft")
    student = loop.load(few_steps.stage, name="few-steps", folder=folder, device=device)["unet"]
    save_changes(student, models / "tiny-portraits-lcm")
