"""Two readers of images: tiny CLIPs trained on the drawings to tell every attribute.

The *guide* takes part in the training: the denoiser and the decoder are taught to please it, and
its text encoder starts theirs. It stays in the training's state. The *judge*, trained from another
seed, takes no part in it: it measures, and is shipped as models/tiny-judge.

Their image encoder is a ConvNeXt, since a convolution needs less training than a vision transformer
before it sees fine marks on a face (README.md). They are trained for the way they are used: for
every attribute, the image's embedding has to be nearer to the right phrase than to the others
(zero-shot classification as a loss), and nearer to its own caption than to other images' (CLIP's
loss).
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageFilter
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

from training.autoencoder import to_tensor
from training.captions import DIRECTION, VOCABULARY, caption, phrases
from training.dataset import read_drawings, spec_of
from training.loop import Loss
from training.portraits import DIRECTIONS, SIZE, VALUES, Spec
from training.workspace import Workspace

PAIRS, SHIFT = 0.25, 2  # the share of a batch that is compared with captions; pixels
READ = VALUES | {"direction": DIRECTIONS}
MEAN, STD = [0.5, 0.5, 0.5], [0.5, 0.5, 0.5]


def build(tokenizer: CLIPTokenizer) -> VisionTextDualEncoderModel:
    """CLIP in miniature: a ConvNeXt for the image, CLIP's transformer for the text."""
    text = CLIPTextConfig(
        vocab_size=len(tokenizer), hidden_size=128, intermediate_size=256, num_hidden_layers=2,
        num_attention_heads=4, max_position_embeddings=77, bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id,
    )  # fmt: skip
    widths = [32, 64, 128, 192]
    vision = ConvNextConfig(image_size=SIZE, hidden_sizes=widths, depths=[2, 2, 3, 1],
                            layer_scale_init_value=0.0, hidden_size=widths[-1])  # fmt: skip
    config = VisionTextDualEncoderConfig.from_vision_text_configs(vision, text, projection_dim=96)
    return VisionTextDualEncoderModel(config)


def augment(drawing: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, bool]:
    """A drawing shifted, mirrored and at times softened, as a generated image may be, and whether
    it was mirrored; both (128, 128, 3) uint8."""
    dx, dy = rng.integers(-SHIFT, SHIFT + 1, 2)
    if rng.random() < 0.5:
        blur = ImageFilter.GaussianBlur(rng.uniform(0.3, 1.0))
        drawing = np.asarray(Image.fromarray(drawing).filter(blur))
    array = np.pad(drawing, ((SHIFT, SHIFT), (SHIFT, SHIFT), (0, 0)), mode="edge")
    array = array[SHIFT + dy : SHIFT + dy + SIZE, SHIFT + dx : SHIFT + dx + SIZE]
    mirrored = bool(rng.random() < 0.5)
    array = array[:, ::-1] if mirrored else array
    if rng.random() < 0.5:
        array = np.clip(array * rng.uniform(0.9, 1.1) + rng.normal(0, 5, array.shape), 0, 255)
    return array.astype(np.uint8), mirrored


def targets(specs: list[Spec], mirrored: list[bool], attribute: str) -> list[int]:
    """The index of the value that each image shows, or -100, which `F.cross_entropy` ignores, where
    there is none: a face seen from the front has no direction.

    >>> targets([Spec(view="side", direction="left"), Spec()], [True, False], "direction")
    [1, -100]
    """
    values = READ[attribute]
    if attribute != "direction":
        return [values.index(getattr(spec, attribute)) for spec in specs]
    shown = [
        values.index(spec.direction) ^ flip for spec, flip in zip(specs, mirrored, strict=True)
    ]
    return [n if spec.view == "side" else -100 for spec, n in zip(specs, shown, strict=True)]


def stage(work: Workspace) -> tuple[nn.ModuleDict, Loss]:
    """A reader: for every attribute the right phrase, for every image its own caption."""
    tokenizer = CLIPTokenizer.from_pretrained(work.folder / "tokenizer")
    model = build(tokenizer).to(work.device)
    drawings = read_drawings(work)
    texts = [phrase for attribute in READ for phrase in phrases(attribute)]
    counts = [len(values) for values in READ.values()]

    def embed(texts: list[str]) -> torch.Tensor:
        tokens = tokenizer(texts, padding=True, truncation=True, return_tensors="pt")
        pooled = model.text_model(**tokens.to(work.device)).pooler_output
        return F.normalize(model.text_projection(pooled), dim=-1)

    def loss_of(rng: np.random.Generator, n: int, fraction: float) -> torch.Tensor:
        numbers, pairs = rng.integers(work.held_out, len(drawings), n), max(1, round(PAIRS * n))
        specs = [spec_of(int(number)) for number in numbers]
        views, mirrored = zip(*(augment(drawings[number], rng) for number in numbers), strict=True)
        pooled = model.vision_model(to_tensor(np.stack(views), work.device)).pooler_output
        image = F.normalize(model.visual_projection(pooled), dim=-1)
        scale = model.logit_scale.exp().clamp(max=100)
        text = embed(texts + [caption(spec, rng, keep=0.9) for spec in specs[:pairs]])
        logits = scale * image @ text.T
        parts = logits[:, : len(texts)].split(counts, 1), text[: len(texts)].split(counts)
        loss = image.new_zeros(())
        for attribute, part, phrase in zip(READ, *parts, strict=True):
            target = torch.tensor(targets(specs, list(mirrored), attribute), device=work.device)
            # The sum over n, since a batch may hold no profile; squared, so that the attribute
            # that is still hard to tell weighs most.
            error = F.cross_entropy(part, target, label_smoothing=0.02, reduction="sum")
            loss = loss + (error / (target >= 0).sum().clamp(min=1)).square()
            # Phrases that start out alike ("stripe make up", "star make up") would stay so: with
            # nothing to choose between, the image encoder learns nothing to tell them by.
            loss = loss + (phrase @ phrase.T).triu(1).relu().mean()
        diagonal = torch.arange(pairs, device=work.device)
        matches = logits[:pairs, len(texts) :]
        contrast = F.cross_entropy(matches, diagonal) + F.cross_entropy(matches.T, diagonal)
        return loss / len(READ) + 0.1 * contrast

    return nn.ModuleDict({"judge": model}), loss_of


def save(model: VisionTextDualEncoderModel, tokenizer: CLIPTokenizer, folder: Path) -> None:
    """Write a reader as `transformers` loads it, and the vocabulary that it is asked with."""
    model.half().save_pretrained(folder)
    images = CLIPImageProcessor(size={"height": SIZE, "width": SIZE}, do_center_crop=False,
                                image_mean=MEAN, image_std=STD)  # fmt: skip
    CLIPProcessor(images, tokenizer).save_pretrained(folder)
    text = json.dumps(VOCABULARY | DIRECTION, indent=1, ensure_ascii=False)
    (folder / "vocabulary.json").write_text(text + "\n", encoding="utf-8")


def load_guide(work: Workspace) -> VisionTextDualEncoderModel:
    """The guide in the state folder, in float32, not to be trained."""
    folder = work.folder / "guide"
    model = VisionTextDualEncoderModel.from_pretrained(folder, dtype=torch.float32)
    return model.to(work.device).eval().requires_grad_(False)
