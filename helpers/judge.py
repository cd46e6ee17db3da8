"""Judge whether images follow their prompts, zero-shot, with a CLIP model of any size."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import torch

from helpers.grids import require_images
from helpers.hub import find_weights
from helpers.inputs import list_prompts
from helpers.loading import pick_device, quiet_libraries
from helpers.models import MODELS_FOLDER

if TYPE_CHECKING:
    import numpy
    import pandas
    from PIL import Image
    from transformers import CLIPProcessor, PreTrainedModel

IMAGES_AT_ONCE = 64
# Comes before a phrase that the prompt excludes.
EXCLUDED = r"(?:\b(?:not|no|without|never)|n['’]t) (?:(?:an?|the|any) )?"


class Judge(NamedTuple):
    """A CLIP model, its processor, and the phrases it chooses from."""

    model: PreTrainedModel
    processor: CLIPProcessor
    # attribute -> {"values": {value: [phrases]}, "default": value, "only": {attribute: value}}
    vocabulary: dict[str, Any]


def load_judge(judge: str = "tiny-judge", *, device: str | torch.device = "auto") -> Judge:
    """Load a judge: the embedded one, or a CLIP model from the Hub.

    Args:
        judge: "tiny-judge", a folder, or a repository on the Hub such as
            "openai/clip-vit-large-patch14"; `MODELS[name].judge` names the one for a model.

    Returns:
        The judge, with the phrases of models/tiny-judge/vocabulary.json whichever model it is.

    Raises:
        ValueError, OSError: as `load_pipeline`.

    Source: Radford et al. 2021, "Learning Transferable Visual Models From Natural Language
    Supervision".
    """
    device = pick_device(device)
    quiet_libraries()
    from transformers import AutoModel, CLIPProcessor

    folder = find_weights(judge)
    # The embedded judge is stored in float16, which is slow on a CPU.
    model = AutoModel.from_pretrained(folder, use_safetensors=True, dtype=torch.float32)
    # Pillow resizes the same way on every machine, with or without torchvision.
    processor = CLIPProcessor.from_pretrained(folder, backend="pil")
    vocabulary = (MODELS_FOLDER / "tiny-judge/vocabulary.json").read_text(encoding="utf-8")
    return Judge(model.to(device).eval(), processor, json.loads(vocabulary))


def read_attributes(images: Sequence[Image.Image], judge: Judge) -> pandas.DataFrame:
    """Read each image's attributes: for each attribute, the value whose phrase is most similar.

    Similarity is the cosine of CLIP's image and text features; the text is the first phrase.

    Returns:
        A row for each image, a column for each attribute; NA where there is nothing to read, such
        as the direction of a face seen from the front.
    """
    import pandas

    images = require_images(images)
    texts = {
        (attribute, value): phrases[0]
        for attribute, entry in judge.vocabulary.items()
        for value, phrases in entry["values"].items()
    }
    similarity = pandas.DataFrame(
        _similarity(images, list(texts.values()), judge),
        columns=pandas.MultiIndex.from_tuples(texts),
    )
    read = {name: similarity[name].idxmax(axis="columns") for name in judge.vocabulary}
    for name, entry in judge.vocabulary.items():
        for other, value in entry.get("only", {}).items():
            read[name] = read[name].where(read[other] == value)
    return pandas.DataFrame(read)


def wanted_attributes(prompt: str, vocabulary: dict[str, Any]) -> dict[str, str]:
    """Return the attributes that a prompt asks for, each with its value.

    Of the phrases found in the prompt as whole words, whatever their case, the longest decides.
    "not smiling" does not say what is there instead, so it asks for nothing. Where no phrase is
    found, an attribute has its default, if any, unless the prompt excludes that or names nothing
    that is known.
    "make-up" is the same as "make up".

    Example:
        >>> vocabulary = {
        ...     "age": {"default": "adult", "values": {"old": ["old"], "oldest": ["oldest"]}},
        ...     "figure": {"values": {"blue": ["blue on"], "red": ["red on"]}},
        ... }
        >>> wanted_attributes("the oldest warrior chief, Blue on red", vocabulary)
        {'age': 'oldest', 'figure': 'blue'}
    """
    values = [entry["values"] for entry in vocabulary.values()]
    known = {phrase for phrases in values for group in phrases.values() for phrase in group}
    # The longest first, and nothing that is part of a longer word ("old-fashioned").
    patterns = {
        phrase: rf"(?<![\w-]){re.escape(phrase)}(?![\w-])".replace(r"\ ", "[ -]")
        for phrase in sorted(known, key=len, reverse=True)
    }
    named = "|".join(patterns[phrase] for phrase in patterns if not phrase.startswith("no "))
    prompt = " ".join(prompt.split())
    words = re.sub(f"{EXCLUDED}(?:{named})", "", prompt, flags=re.IGNORECASE)
    wanted: dict[str, str] = {}
    for attribute, entry in vocabulary.items():
        found = {
            phrase: value
            for value, phrases in entry["values"].items()
            for phrase in phrases
            if re.search(patterns[phrase], words, re.IGNORECASE)
        }
        if found:
            wanted[attribute] = found[max(found, key=len)]
    if not wanted:
        return {}  # nothing in the prompt is known, so there is nothing to read
    both = {}
    for attribute, entry in vocabulary.items():
        usual = entry["values"].get(default := entry.get("default"), ())
        excluded = any(re.search(patterns[phrase], prompt, re.IGNORECASE) for phrase in usual)
        both[attribute] = wanted.get(attribute) or (None if excluded else default)
    return {attribute: value for attribute, value in both.items() if value}


def adherence(
    images: Sequence[Image.Image], prompts: str | Sequence[str], judge: Judge
) -> pandas.DataFrame:
    """Say, image by image, which attributes came out as the prompt asks for.

    Args:
        prompts: one for each image, or one for all.

    Returns:
        A row for each image, a column for each attribute: True if the judge reads the value that
        the prompt asks for, False if another, NA if the prompt leaves it open. `.mean()` is the
        share that came out right by attribute, `.stack().mean()` over all that was asked for.
    """
    import pandas

    images = require_images(images)
    prompts = list_prompts(prompts, len(images))
    read = read_attributes(images, judge)
    wanted = pandas.DataFrame(
        [wanted_attributes(prompt, judge.vocabulary) for prompt in prompts], columns=read.columns
    )
    return (read == wanted).astype("boolean").where(wanted.notna())


@torch.no_grad()
def _similarity(images: Sequence[Image.Image], texts: list[str], judge: Judge) -> numpy.ndarray:
    """Return CLIP's scaled cosine similarities, an array of images x texts."""
    logits = []
    for start in range(0, len(images), IMAGES_AT_ONCE):
        batch = [image.convert("RGB") for image in images[start : start + IMAGES_AT_ONCE]]
        inputs = judge.processor(text=texts, images=batch, padding=True, return_tensors="pt")
        logits.append(judge.model(**inputs.to(judge.model.device)).logits_per_image)
    return torch.cat(logits).float().cpu().numpy()
