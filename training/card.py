"""The model card: what `training.evaluate` measures, and what the training aimed at."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from training.texture import LEVELS

OTHERS, CRISP, SOFT = "other drawings", "drawings, crisp decoder", "drawings, soft decoder"
FINAL, FOUR_STEPS = "full captions, 20 steps", "full captions, 4 steps"
UNSEEN_4 = "unseen prompts, 4 steps"
EARLY, EARLY_CRISP = "early checkpoint", "early checkpoint, crisp decoder"
UNSEEN, PNDM_50, PNDM_10 = "unseen prompts, 20 steps", "PNDM, 50 steps", "PNDM, 10 steps"


@dataclass(frozen=True)
class Figures:
    """All that is measured. Shares run from 0 to 1."""

    textures: pd.DataFrame  # set -> distance from drawings on LEVELS, "edges" over the drawings'
    right: dict[str, pd.DataFrame]  # set -> what `helpers.adherence` returns
    accuracy: pd.Series  # attribute -> share of held-out drawings that the judge reads correctly
    ages: dict[str, float]  # what `evaluate.ages_of` returns
    seeds: int
    short: dict[str, float]  # what `evaluate.short_prompt_figures` returns
    redraw: dict[str, float]  # what `evaluate.face_redraw` returns
    styled: dict[str, float]  # what `evaluate.style_figures` returns
    parts: dict[str, int]  # part of the pipeline -> parameters
    megabytes: float


def percent(right: pd.DataFrame) -> float:
    """The percentage of all that was asked for that is in the images."""
    return 100 * float(right.stack().mean())


def rows(figures: Figures) -> list[tuple[str, str, str]]:
    """The table of figures: what, figure, aim."""
    texture, right, ages, short = figures.textures.T, figures.right, figures.ages, figures.short

    def levels(values: pd.Series | dict, digits: int = 0) -> str:
        return " / ".join(f"{values[level]:.{digits}f}" for level in LEVELS)

    def lost(name: str, baseline: str) -> str:
        return f"{percent(right[baseline][: len(right[name])]) - percent(right[name]):.1f}"

    share = 100 * right[UNSEEN].mean().astype(float)
    kept = min(set(ages) - {"right", "same"}, key=ages.__getitem__)
    crisp = (
        (texture[CRISP] / texture[SOFT])["fine"],
        (texture[EARLY_CRISP] / texture[EARLY])["fine"],
    )
    return [
        ("SWD of generated images", levels(texture[FINAL]), "28 / 16 / 15"),
        ("SWD through the decoder", levels(texture[CRISP]), ""),
        ("edge strength of generated images over that of drawings",
         f"{texture[FINAL]['edges']:.2f}", "0.97 to 1.04"),
        ("adherence: mean; lowest attribute; make-up",
         f"{percent(right[UNSEEN]):.1f}; {share.min():.1f} ({share.idxmin()}); "
         f"{share['make_up']:.1f}", "98.7; 93; 95"),
        ("short prompts: clearly bare faces (drawings through the autoencoder); right subject; SWD",
         f"{100 * short['bare']:.1f} ({100 * short['decoded']:.1f}); "
         f"{100 * short['subject']:.1f}; {levels(short)}",
         "97; 99.5; 1.3 times that of full captions"),
        ("face redraw, over the autoencoder: L1; features of the judge",
         f"{figures.redraw['l1']:.2f}; {figures.redraw['features']:.1f}", "1.4; 2"),
        (f"{figures.seeds} seeds, four ages each: all ages right; same composition",
         f"{100 * ages['right']:.0f}; {100 * ages['same']:.0f} ({kept} {100 * ages[kept]:.0f})",
         "95; 95"),
        ("PNDM, 50 steps: adherence lost", lost(PNDM_50, UNSEEN), "at most 1"),
        ("PNDM, 10 steps: adherence lost", lost(PNDM_10, UNSEEN), "more"),
        ("4 steps: adherence lost; SWD over that of 20 steps",
         f"{lost(UNSEEN_4, UNSEEN)}; {levels(texture[FOUR_STEPS] / texture[FINAL], 2)}",
         "at most 1; 1.3"),
        ("early checkpoint: adherence lost; SWD over that of the final model",
         f"{lost(EARLY, FINAL)}; {levels(texture[EARLY] / texture[FINAL], 2)}", "at least 8; 2"),
        ("style checkpoint: distance from its colors in its style, and that of the final model; "
         "adherence lost elsewhere",
         f"{figures.styled['styled']:.0f}, {figures.styled['final']:.0f}; "
         f"{figures.styled['lost']:.1f}", "at most half; 5"),
        ("crisp decoder: fine SWD over that of the soft one: drawings; early checkpoint",
         f"{crisp[0]:.2f}; {crisp[1]:.2f}", "at most 0.5"),
        ("size of the model", f"{figures.megabytes:.1f} MB", "16 MB"),
    ]  # fmt: skip


def by_attribute(figures: Figures) -> pd.DataFrame:
    """Percentages by attribute: the judge's accuracy on drawings, then adherence."""
    names = (UNSEEN, UNSEEN_4, PNDM_50, PNDM_10)
    shares = {"judge on drawings": figures.accuracy}
    shares |= {name: figures.right[name].mean() for name in names}
    return (100 * pd.DataFrame(shares, figures.accuracy.index).astype(float)).round(1)


def markdown(table: pd.DataFrame) -> str:
    """A Markdown table with the index as its first column; nothing where nothing was asked.

    >>> print(markdown(pd.DataFrame({"share": [0.5, float("nan")]}, index=["age", "view"])))
    | | share |
    |---|---|
    | age | 0.5 |
    | view | |
    """
    cells = table.astype(object).where(table.notna(), "")
    lines = [["", *table.columns], *([str(v) for v in row] for row in cells.itertuples())]
    text = ["|" + "|".join(f" {cell} " if cell else " " for cell in line) + "|" for line in lines]
    return "\n".join([text[0], "|---" * len(lines[0]) + "|", *text[1:]])


CARD = """---
license: apache-2.0
library_name: diffusers
pipeline_tag: text-to-image
---

# tiny-portraits

A complete miniature of Stable Diffusion 1.x (CLIP tokenizer and text encoder, AutoencoderKL,
UNet2DConditionModel, PNDMScheduler with SD1.5's own settings) that generates portraits of invented
storybook characters, 128x128 pixels, in about a second on two CPU cores. Stock Diffusers loads it:

```python
from diffusers import DiffusionPipeline

pipeline = DiffusionPipeline.from_pretrained("models/tiny-portraits", use_safetensors=True)
```

It was trained from nothing on {drawings:,} drawings made by `training/portraits.py`;
no photograph, no artist's work and no other model went into it. It knows what they show, no more:
{subjects}; young, grown, old and oldest; ten colours of figure and background; front and side;
and the phrases of `models/tiny-judge/vocabulary.json`. Other words are ignored or misread. A prompt
that names no make-up asks for a bare face, one that names no style for a photo.
License: Apache-2.0, the weights included.

| part | parameters |
|---|---|
{parts}

On disk {size:.1f} MB, all of `models/` {all_size:.1f} MB; UNet and autoencoder are in float16.

## Figures

Measured by `make evaluate` ({machine}). Percentages, and points between them, unless a unit is
given; DPM-Solver++ with 20 steps at guidance scale {scale} unless stated otherwise.

**Who judges**: `models/tiny-judge`, a tiny CLIP trained on the drawings alone, from a seed of its
own. It took no part in training these models; the network that did is not shipped.

*Adherence* is the share of what prompts ask for that the judge finds in their images: {prompts}
prompts of characters never drawn, the first {compared} of them for PNDM. *SWD* is the sliced
Wasserstein distance of small patches, times 1000, on the fine, middle and coarse level of a
Laplacian pyramid (`training/texture.py`), which no network computes: images generated from captions
that name every attribute of {textured} held-out drawings, compared with these. *Short prompts* name
subject, age and at most two further attributes; a face is clearly bare where the judge is as sure
of it as of 99 in 100 bare drawings. *Face redraw*: the same {textured} drawings, noised to step
250 of 1,000 and denoised with their captions.

| what | figure | aim |
|---|---|---|
{rows}

### SWD, and edges over those of drawings

{textures}

The final model has the crisp decoder; the early checkpoint keeps the soft one of the autoencoder's
own training.

### What the judge reads correctly, by attribute

Of {held_out:,} drawings that it was not trained on, and of what the prompts ask for. No prompt says
where a profile faces.

{attributes}
"""


def text(figures: Figures, **facts: object) -> str:
    """The whole card; `facts` are the fields of CARD that no figure fills."""
    textures = figures.textures.round(dict.fromkeys(LEVELS, 0) | {"edges": 2})
    return CARD.format(
        parts="\n".join(f"| {name} | {count:,} |" for name, count in figures.parts.items()),
        size=figures.megabytes, prompts=len(figures.right[UNSEEN]),
        compared=len(figures.right[PNDM_50]), textured=len(figures.right[FINAL]),
        rows="\n".join(f"| {' | '.join(row)} |" for row in rows(figures)),
        textures=markdown(textures.astype(dict.fromkeys(LEVELS, int))),
        attributes=markdown(by_attribute(figures)), **facts,
    )  # fmt: skip
