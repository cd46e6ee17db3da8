"""The judge: a tiny CLIP trained on the drawings, which reads the attributes off a picture.

Its eye is a ConvNeXt, for a convolution has to learn less before it sees fine marks on a face than
a vision transformer has: README.md compares the two.

It is trained for the way it is used: for every attribute, the picture's embedding must be nearer to
the right phrase than to the others (zero-shot classification as a loss), and nearer to its own
caption than to other pictures' (CLIP's loss). `helpers.judge` reads a real CLIP by the same code.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageFilter
from safetensors.torch import load_file
from torch import nn
from torch.nn import functional as F
from transformers import (
    CLIPImageProcessor,
    CLIPProcessor,
    CLIPTextConfig,
    CLIPTokenizer,
    ConvNextConfig,
    VisionTextDualEncoderConfig,
    VisionTextDualEncoderModel,
)

from training import loop
from training.autoencoder import read_pictures, to_tensor
from training.captions import DIRECTION, VOCABULARY, caption, phrases
from training.dataset import HELD_OUT, spec_of
from training.portraits import DIRECTIONS, SIZE, VALUES, Spec

SHARE, SHIFT = 0.25, 2  # of a batch, with captions of their own; pixels
READ = VALUES | {"direction": DIRECTIONS}
MEAN, STD = [0.5, 0.5, 0.5], [0.5, 0.5, 0.5]


def build(tokenizer: CLIPTokenizer) -> VisionTextDualEncoderModel:
    """CLIP in miniature: a ConvNeXt for the picture, CLIP's transformer for the words."""
    words = CLIPTextConfig(
        vocab_size=len(tokenizer), hidden_size=128, intermediate_size=256, num_hidden_layers=2,
        num_attention_heads=4, max_position_embeddings=77, bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id,
    )  # fmt: skip
    widths = [32, 64, 128, 192]
    eye = ConvNextConfig(image_size=SIZE, hidden_sizes=widths, depths=[2, 2, 3, 1],
                         layer_scale_init_value=0.0, hidden_size=widths[-1])  # fmt: skip
    config = VisionTextDualEncoderConfig.from_vision_text_configs(eye, words, projection_dim=96)
    return VisionTextDualEncoderModel(config)


def worn(picture: Image.Image, rng: np.random.Generator) -> tuple[np.ndarray, bool]:
    """A drawing moved, mirrored and at times softened, as a generated picture may be, and whether
    it was mirrored."""
    dx, dy = rng.integers(-SHIFT, SHIFT + 1, 2)
    array = np.asarray(picture)
    if rng.random() < 0.5:
        radius = rng.uniform(0.3, 1.0)
        array = np.asarray(picture.filter(ImageFilter.GaussianBlur(radius)))
    array = np.pad(array, ((SHIFT, SHIFT), (SHIFT, SHIFT), (0, 0)), mode="edge")
    array = array[SHIFT + dy : SHIFT + dy + SIZE, SHIFT + dx : SHIFT + dx + SIZE]
    mirrored = bool(rng.random() < 0.5)
    array = array[:, ::-1] if mirrored else array
    if rng.random() < 0.5:
        array = np.clip(array * rng.uniform(0.9, 1.1) + rng.normal(0, 5, array.shape), 0, 255)
    return array.astype(np.uint8), mirrored


def targets(specs: list[Spec], mirrored: list[bool], attribute: str) -> list[int]:
    """The number of the value that each picture shows, or -100, which `F.cross_entropy` passes
    over, where there is none: a face seen from the front has no direction.

    >>> targets([Spec(view="side", direction="left"), Spec()], [True, False], "direction")
    [1, -100]
    """
    values = READ[attribute]
    if attribute != "direction":
        return [values.index(getattr(spec, attribute)) for spec in specs]
    shown = [values.index(spec.direction) ^ mirror
             for spec, mirror in zip(specs, mirrored, strict=True)]  # fmt: skip
    return [n if spec.view == "side" else -100 for spec, n in zip(specs, shown, strict=True)]


def stage(folder: Path, device: torch.device) -> loop.Made:
    """The judge: for every attribute the right phrase, for every picture its own caption."""
    tokenizer = CLIPTokenizer.from_pretrained(folder / "tokenizer")
    model = build(tokenizer).to(device)
    if (start := folder / "start" / "tiny-judge").exists():
        model.load_state_dict(load_file(start / "model.safetensors"))
    pictures = read_pictures(folder)
    words = [p for a in READ for p in phrases(a)]
    counts = [len(options) for options in READ.values()]

    def embed(texts: list[str]) -> torch.Tensor:
        tokens = tokenizer(texts, padding=True, truncation=True, return_tensors="pt").to(device)
        pooled = model.text_model(**tokens).pooler_output
        return F.normalize(model.text_projection(pooled), dim=-1)

    def loss_of(rng: np.random.Generator, n: int, fraction: float) -> torch.Tensor:
        numbers, pairs_of = rng.integers(HELD_OUT, len(pictures), n), round(SHARE * n)
        specs = [spec_of(int(n)) for n in numbers]
        views = [worn(Image.fromarray(pictures[n]), rng) for n in numbers]
        pixels = to_tensor(np.stack([array for array, _ in views]), device)
        mirrored = [mirror for _, mirror in views]
        pooled = model.vision_model(pixel_values=pixels).pooler_output
        seen = F.normalize(model.visual_projection(pooled), dim=-1)
        scale = model.logit_scale.exp().clamp(max=100)
        said = embed(words + [caption(s, rng, keep=0.9) for s in specs[:pairs_of]])
        logits = scale * seen @ said.T
        parts = logits[:, : len(words)].split(counts, 1), said[: len(words)].split(counts)
        loss = seen.new_zeros(())
        for attribute, part, phrase in zip(READ, *parts, strict=True):
            target = torch.tensor(targets(specs, mirrored, attribute), device=device)
            # Squared, so that what is still hard to tell weighs most.
            loss = loss + F.cross_entropy(part, target, label_smoothing=0.02).square()
            # Phrases that start out alike ("stripe make up", "star make up") would stay so: with
            # nothing to choose between, the picture's side learns nothing to tell them by.
            loss = loss + (phrase @ phrase.T).triu(1).relu().mean()
        own = torch.arange(pairs_of, device=device)
        pairs = logits[:pairs_of, len(words) :]
        contrast = F.cross_entropy(pairs, own) + F.cross_entropy(pairs.T, own)
        return loss / len(READ) + 0.1 * contrast

    return nn.ModuleDict({"judge": model}), loss_of, None


def save(model: VisionTextDualEncoderModel, tokenizer: CLIPTokenizer, folder: Path) -> None:
    """Write the judge as `transformers` reads it, and the vocabulary it is asked with."""
    model.half().save_pretrained(folder)
    images = CLIPImageProcessor(size={"height": SIZE, "width": SIZE}, do_center_crop=False,
                                image_mean=MEAN, image_std=STD)  # fmt: skip
    CLIPProcessor(images, tokenizer).save_pretrained(folder)
    text = json.dumps(VOCABULARY | DIRECTION, indent=1, ensure_ascii=False)
    (folder / "vocabulary.json").write_text(text + "\n", encoding="utf-8")
