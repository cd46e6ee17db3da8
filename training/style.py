"""A checkpoint with a style of its own: the shipped denoiser, fine-tuned on drawings in that style.

A function of light and colour turns drawings into the style; their captions name it. A share of
plain drawings, of which the student keeps its teacher's predictions, is to preserve the rest.
"""

from __future__ import annotations

import copy
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import nn
from transformers import CLIPTokenizer

from training import denoiser, latents, strength
from training.captions import caption
from training.dataset import drawings_digest, read_drawings, spec_of
from training.loop import Loss
from training.workspace import Workspace, cached, digest

DRAWINGS = 2_000  # that are turned into the style
PLAIN = 0.3  # the share of a batch that stays plain
GUIDED = 0.25  # the weight of guided predictions, of which guidance enlarges the errors


class Style(NamedTuple):
    """Five colours from dark to light, and the share of the drawing's own colour that stays."""

    palette: tuple[tuple[int, int, int], ...]
    own_colour: float


STYLES = {
    "golden statue": Style(
        ((14, 10, 24), (92, 48, 14), (196, 132, 32), (250, 206, 92), (255, 250, 224)), 0.0
    ),
    "moonlight": Style(
        ((6, 10, 30), (22, 38, 84), (62, 96, 152), (150, 186, 218), (240, 248, 255)), 0.2
    ),
    "neon": Style(
        ((8, 4, 28), (74, 14, 128), (222, 30, 154), (60, 200, 240), (236, 255, 250)), 0.3
    ),
}


def in_style(image: Image.Image, style: str) -> Image.Image:
    """The image with its brightness mapped to the style's palette.

    >>> in_style(Image.new("RGB", (8, 8), "white"), "moonlight").size
    (8, 8)
    """
    palette, own_colour = STYLES[style]
    light = np.asarray(ImageOps.autocontrast(image.convert("L"), cutoff=1), float) / 255
    light = light**0.65  # so that dark skin keeps its features
    stops = np.linspace(0, 1, len(palette))
    toned = np.stack(
        [np.interp(light, stops, channel) for channel in zip(*palette, strict=True)], -1
    )
    mixed = own_colour * np.asarray(image, float) + (1 - own_colour) * toned
    return Image.fromarray(mixed.round().astype(np.uint8))


def styled_caption(number: int, style: str, rng: np.random.Generator) -> str:
    """A caption of a drawing that names the style instead of a photo.

    >>> styled_caption(3, "neon", np.random.default_rng(0)).startswith("neon portrait of ")
    True
    """
    text = caption(replace(spec_of(number), style="photo"), rng)
    return f"{style} portrait{text[text.index(' of ') :]}"


def photo_numbers(work: Workspace) -> np.ndarray:
    """The numbers of the first DRAWINGS drawings that are photos and may be trained on."""
    numbers = [n for n in range(work.held_out, work.drawings) if spec_of(n).style == "photo"]
    return np.array(numbers[:DRAWINGS], int)


def styled_path(work: Workspace, style: str) -> Path:
    """Where the latents of drawings in this style are kept, (DRAWINGS, 2, 12, 16, 16) float16."""
    drawings = drawings_digest(work.drawings)
    made_by = digest(latents.vae_weights(work), drawings, Path(__file__), style)
    return work.folder / f"styled-{made_by}.npy"


def make_styled(work: Workspace, style: str) -> None:
    """Turn drawings into the style and encode them, unless that has been done."""
    cached(styled_path(work, style), partial(_encode_styled, work, style))


@torch.no_grad()
def _encode_styled(work: Workspace, style: str) -> np.ndarray:
    drawings = read_drawings(work)[photo_numbers(work)]
    styled = np.stack([np.asarray(in_style(Image.fromarray(image), style)) for image in drawings])
    return latents.map_with_mirrored(latents.load_encoder(work), styled, work.device)


def stage(work: Workspace, style: str) -> tuple[nn.ModuleDict, Loss]:
    """A copy of the shipped denoiser, of whose predictions those of styled drawings change.

    Its captions have CAPTION_STRENGTH, so a prediction at full strength is compared with the noise.
    """
    tokenizer = CLIPTokenizer.from_pretrained(work.folder / "tokenizer")
    teacher = strength.load_final(work)
    student = copy.deepcopy(teacher).train().requires_grad_(True)
    plain = np.load(latents.latents_path(work), mmap_mode="r")
    styled, numbers_of = np.load(styled_path(work, style)), photo_numbers(work)
    side = latents.right_minus_left(plain, work.held_out)

    def loss_of(rng: np.random.Generator, n: int, fraction: float) -> torch.Tensor:
        n = max(2, n // 2)  # the UNet is called twice for each
        kept = max(1, round(PLAIN * n))
        index = rng.integers(0, len(styled), n - kept)
        numbers = np.concatenate([rng.integers(work.held_out, len(plain), kept), numbers_of[index]])
        captions = denoiser.sample_captions(numbers[:kept], rng)
        captions += [styled_caption(int(number), style, rng) for number in numbers[kept:]]
        mirrored, noise = latents.sample_noise(side, numbers, rng)
        encoded = (plain, numbers[:kept], mirrored[:kept]), (styled, index, mirrored[kept:])
        clean = torch.cat([latents.scaled_latents(*part, work.device) for part in encoded])
        times, noise = denoiser.sample_timesteps(n, rng, work.device), noise.to(work.device)
        noisy = denoiser.SCHEDULE.add_noise(clean, noise, times)
        with torch.no_grad():
            wanted, wanted_change = strength.predict(tokenizer, teacher, noisy, times, captions)
        without, change = strength.predict(tokenizer, student, noisy, times, captions)
        scale = strength.GUIDANCE_SCALE
        loss = denoiser.weighted_error(without, wanted, times)
        loss = loss + GUIDED * denoiser.weighted_error(
            (without + scale * change)[:kept], (wanted + scale * wanted_change)[:kept], times[:kept]
        )
        full = without + change / denoiser.CAPTION_STRENGTH
        return loss + denoiser.weighted_error(full[kept:], noise[kept:], times[kept:])

    return student, loss_of
