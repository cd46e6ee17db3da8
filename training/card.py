"""What `training.evaluate` measures, put into words: the model card and its bars."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import pandas as pd

from training.texture import LEVELS

UNSEEN, PNDM_50, PNDM_10, FOUR = "20 steps", "PNDM, 50 steps", "PNDM, 10 steps", "4 steps"
FINAL, EARLY = "full captions", "full captions, early checkpoint"  # 20 steps each
AGAIN, SHIPPED, SOFT = "other drawings", "drawings, crisp decoder", "drawings, soft decoder"
DRAWN, DRAWN_FOUR = "drawn, 20 steps", "drawn, 4 steps"
DRAWN_EARLY, EARLY_CRISP = "drawn, early checkpoint", "drawn, early checkpoint, crisp decoder"


@dataclass(frozen=True)
class Figures:
    """All that is measured. Shares run from 0 to 1; a *reader* is the judge or the examiner."""

    textures: pd.DataFrame  # set -> distance from drawings on LEVELS, "edges" over theirs
    accuracy: pd.DataFrame  # attribute -> share of held-out drawings that each reader reads right
    right: dict[str, dict[str, pd.DataFrame]]  # set -> reader -> what `evaluate.followed` returns
    ages: dict[str, dict[str, float]]  # reader -> what `evaluate.ages_of` returns, of `seeds` seeds
    seeds: int
    spread: pd.DataFrame  # attribute -> distance from an even spread
    differences: dict[str, int]  # "again" and "in a batch", of 255
    seconds: float  # of one picture in 20 steps
    parts: dict[str, int]  # part of the pipeline -> parameters
    size: float  # of the model, in units of 10^6 bytes
    tree: float  # of all that is committed, in MiB


def points(right: pd.DataFrame) -> float:
    """The share of all that was asked for that came out right, in percent."""
    return 100 * float(right.stack().mean())


def _listed(numbers: Iterable[float], digits: int = 0, mark: str = " / ") -> str:
    return mark.join(f"{number:.{digits}f}" for number in numbers)


def _adherence(right: pd.DataFrame) -> str:
    """Mean, lowest attribute and make-up, as a row of the card says them."""
    share = 100 * right.mean().astype(float)
    lowest = f"{share.min():.1f} ({share.idxmin()})"
    return f"{points(right):.1f}; {lowest}; {share['make_up']:.1f}"


def _kept(shares: dict[str, float]) -> str:
    """The share of whole compositions that stay, and which part of them stays least."""
    parts = {name: share for name, share in shares.items() if name not in ("right", "kept")}
    least = min(parts, key=parts.__getitem__)
    return f"{100 * shares['kept']:.0f} ({least} {100 * parts[least]:.0f})"


def rows(figures: Figures) -> list[tuple[str, str, str]]:
    """The rows of the table of bars: what, figure, bar."""
    texture, right = figures.textures.T, figures.right
    levels = list(LEVELS)

    def lost(name: str, against: str) -> float:
        some = right[name]["judge"]
        return points(right[against]["judge"][: len(some)]) - points(some)

    def times(name: str, against: str) -> str:
        return _listed((texture[name] / texture[against])[levels], 2)

    crisp = [texture[SHIPPED]["fine"] / texture[SOFT]["fine"],
             texture[EARLY_CRISP]["fine"] / texture[DRAWN_EARLY]["fine"]]  # fmt: skip
    readers = ("judge", "examiner")
    ages = [100 * figures.ages[reader]["right"] for reader in readers]
    kept = "; ".join(_kept(figures.ages[reader]) for reader in readers)
    seeds = f"of {figures.seeds} seeds, four ages each, by judge; by examiner"
    return [
        ("SWD of pictures drawn", _listed(texture[DRAWN][levels]), "70 / 60 / 20"),
        ("SWD through the decoder", _listed(texture[SHIPPED][levels]), "35 / 20 / 12"),
        ("edge strength, drawn over drawings", f"{texture[DRAWN]['edges']:.2f}", "0.95 to 1.05"),
        ("adherence by the judge: mean; lowest attribute; make-up",
         _adherence(right[UNSEEN]["judge"]), "99; 93; 93"),
        ("the same by the examiner", _adherence(right[UNSEEN]["examiner"]),
         "within 2 of the judge's"),
        ("PNDM, 50 steps: adherence lost", f"{lost(PNDM_50, UNSEEN):.1f}", "at most 1"),
        ("PNDM, 10 steps: adherence lost", f"{lost(PNDM_10, UNSEEN):.1f}", "measurably more"),
        ("early checkpoint: adherence lost; its SWD over the final model's",
         f"{lost(EARLY, FINAL):.1f}; {times(DRAWN_EARLY, DRAWN)}", "at least 8; 2"),
        ("crisp decoder's SWD (fine) over the soft one's: drawings; drawn by the early checkpoint",
         _listed(crisp, 2, "; "), "at most 0.33"),
        (f"{seeds}: all four ages right", _listed(ages, mark="; "), "95"),
        (f"{seeds}: view, direction, colours and make-up the same", kept, "90"),
        ("4 steps: adherence lost; SWD over that of 20 steps",
         f"{lost(FOUR, UNSEEN):.1f}; {times(DRAWN_FOUR, DRAWN)}", "at most 1; 1.3"),
        ("one picture, 20 steps", f"{figures.seconds:.2f} s", "0.8 s"),
        ("size of the model", f"{figures.size:.1f} MB", "20 MB"),
        ("size of the whole tree", f"{figures.tree:.1f} MiB", "56 MiB"),
        ("same seed again: largest difference", f"{figures.differences['again']} of 255", "0"),
        ("picture 4 of a batch against the picture alone",
         f"{figures.differences['in a batch']} of 255", "2"),
    ]  # fmt: skip


def by_attribute(figures: Figures) -> pd.DataFrame:
    """Percentages: each reader's accuracy on drawings, then what was followed, by attribute."""
    shares = {f"{reader}, drawings": figures.accuracy[reader] for reader in figures.accuracy}
    shares |= {f"{name}, {reader}": right.mean()
               for name in (UNSEEN, FOUR, PNDM_50, PNDM_10)
               for reader, right in figures.right[name].items()
               if name == UNSEEN or reader == "judge"}  # fmt: skip
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
    said = ["|" + "|".join(f" {cell} " if cell else " " for cell in line) + "|" for line in lines]
    return "\n".join([said[0], "|---" * len(lines[0]) + "|", *said[1:]])


CARD = """---
license: apache-2.0
library_name: diffusers
pipeline_tag: text-to-image
---

# tiny-portraits

A complete miniature of Stable Diffusion 1.x (CLIP tokenizer and text encoder, AutoencoderKL,
UNet2DConditionModel, PNDMScheduler with SD1.5's own settings) that draws portraits of invented
storybook characters, 128x128 pixels, in about a second on two CPU cores. Stock diffusers loads it:

```python
from diffusers import DiffusionPipeline

pipeline = DiffusionPipeline.from_pretrained("models/tiny-portraits", use_safetensors=True)
```

It was trained from nothing on {drawings:,} drawings made by `training/portraits.py`;
no photograph, no artist's work and no other model went into it. It knows what they show, no more:
{subjects}; young, grown, old and oldest; ten colours of figure and background; front and side;
and the phrases of `models/tiny-judge/vocabulary.json`. Other words are read past or misread.
Licence: Apache-2.0, the weights included.

| part | parameters |
|---|---|
{parts}

On disk {size:.1f} MB; all of `models/` {all_size:.1f} MB. UNet and autoencoder rest in float16.

## Figures

Measured by `make evaluate` on {machine}. Percentages, and points
between them, unless a unit is given; DPM-Solver++ with 20 steps at guidance scale {scale} unless
others are named.

*Adherence* is the share of what prompts ask for that a reader finds in their pictures:
{prompts} prompts of 4 to 11 attributes, of characters never drawn, the first {compared} of them
for PNDM. **The judge (`models/tiny-judge`) took part in the training**: what it sees guided
denoiser and decoder, and its words started the text encoder. **The examiner did not**: it is
another network, from another seed, trained on the drawings alone and asked by `make evaluate` only
(`training/examiner.py`). Where none is named, the judge reads.

*SWD* is the sliced Wasserstein distance of small patches, times 1000, on the fine, middle and
coarse level of a Laplacian pyramid (`training/texture.py`). No network takes part in it. The
pictures are drawn from captions that say all there is to say of {textured} drawings that nothing
was trained on, and compared with these.

| what | figure | bar |
|---|---|---|
{rows}

### SWD, and edges over those of drawings

{textures}

The final model ships the crisp decoder; the early checkpoint keeps the soft one, as it came from
the autoencoder's own training.

### What the readers read right, by attribute

Of {held_out:,} drawings that neither was trained on, and of what the prompts ask for. No prompt
says where a profile faces.

{attributes}

### Spread of the open attributes

64 seeds of "portrait of a warrior chief": total variation distance from an even spread, 0 for even
and near 1 for always the same.

{spread}
"""


def text(figures: Figures, **facts: object) -> str:
    """The whole card; `facts` are the places of CARD that no figure fills."""
    sets, levels = figures.right, list(LEVELS)
    textures = figures.textures.round(dict.fromkeys(levels, 0) | {"edges": 2})
    return CARD.format(
        parts="\n".join(f"| {name} | {count:,} |" for name, count in figures.parts.items()),
        size=figures.size, prompts=len(sets[UNSEEN]["judge"]),
        compared=len(sets[PNDM_50]["judge"]), textured=len(sets[FINAL]["judge"]),
        rows="\n".join(f"| {' | '.join(row)} |" for row in rows(figures)),
        textures=markdown(textures.astype(dict.fromkeys(levels, int))),
        attributes=markdown(by_attribute(figures)), spread=markdown(figures.spread.round(2)),
        **facts,
    )  # fmt: skip
