"""`make evaluate`: measure the embedded models, write models/tiny-portraits/README.md, their card.

The judge is examined first, on drawings it has not seen; only then does it read what the model
draws. Every figure of the card comes from this run.
"""

from __future__ import annotations

import argparse
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import diffusers
import numpy as np
import pandas as pd
import torch
from diffusers import AutoencoderKL, DiffusionPipeline
from diffusers.utils import make_image_grid
from PIL import Image
from tqdm.auto import tqdm

from helpers import (
    MODELS,
    MODELS_FOLDER,
    Judge,
    adherence,
    load_judge,
    load_pipeline,
    make_generators,
    read_attributes,
    use_few_steps,
    use_scheduler,
)
from training import autoencoder, captions, dataset
from training.portraits import VALUES

NEW = 10_000_000  # numbers of specifications that no dataset reaches
BATCH = 8
BEST = "DPM-Solver++ 20"
COMPARED = 128  # prompts that the other schedulers draw too
TAIL = (
    ", tribal panther make up, blue on red, side profile, looking away, serious eyes"
    " 50mm portrait photography, hard rim lighting photography--beta --ar 2:3  --beta --upbeta"
)
AGES = {"oldest": "the oldest", "old": "a old", "adult": "a", "young": "a young"}


def draw_prompts(
    pipeline: DiffusionPipeline, prompts: list[str], seeds: list[int], **settings: object
) -> list[Image.Image]:
    """One picture a prompt and seed, drawn in batches."""
    images = []
    for start in tqdm(range(0, len(prompts), BATCH), "drawing", leave=False):
        part = slice(start, start + BATCH)
        generator = make_generators(seeds[part])
        images += pipeline(prompts[part], generator=generator, **settings).images
    return images


def psnr(vae: AutoencoderKL, pictures: np.ndarray) -> float:
    """Mean peak signal-to-noise ratio (dB) of reconstructions of `pictures`, (N, H, W, 3) uint8."""
    ratios = []
    with torch.no_grad():
        for start in range(0, len(pictures), 16):
            true = autoencoder.to_tensor(pictures[start : start + 16], vae.device)
            made = vae.decode(vae.encode(true).latent_dist.mean).sample.clamp(-1, 1)
            error = (made - true).square().mean((1, 2, 3)) / 4
            ratios += (-10 * error.log10()).tolist()
    return float(np.mean(ratios))


def judge_accuracy(judge: Judge, pictures: np.ndarray) -> pd.Series:
    """Share of drawings whose value the judge reads right, by attribute."""
    read = read_attributes([Image.fromarray(p) for p in pictures], judge)
    true = pd.DataFrame([vars(dataset.spec_of(i)) for i in range(len(pictures))])
    return (read == true[read.columns]).mean()


def unseen_prompts(count: int) -> list[str]:
    """Prompts of specifications never drawn, naming 4 to 11 attributes."""
    prompts = []
    for i in range(NEW, NEW + count):
        rng = np.random.default_rng(i)
        prompts.append(captions.full_caption(dataset.spec_of(i), rng, rng.integers(2, 10))[0])
    return prompts


def ages(pipeline: DiffusionPipeline, judge: Judge, seeds: int, **settings: object) -> dict:
    """Lesson L15 over many seeds: are the four ages right, and does the rest stay?"""
    prompts = [f"portrait photo of {age} warrior chief{TAIL}" for age in AGES.values()]
    right, same = [], []
    for seed in range(seeds):
        images = draw_prompts(pipeline, prompts, [seed] * 4, **settings)
        read = read_attributes(images, judge)
        right.append(list(read["age"]) == list(AGES))
        rest = read[["view", "figure", "background", "make_up"]]
        same.append(rest.nunique().max() == 1)
    return {"ages right": np.mean(right), "rest the same": np.mean(same)}


def diversity(pipeline: DiffusionPipeline, judge: Judge, **settings: object) -> pd.DataFrame:
    """How far 64 pictures of one short prompt are from an even spread, attribute by attribute.

    The distance is the total variation, 0 for even and near 1 for always the same; beside it that
    of 64 drawings, which are spread by chance alone.
    """
    prompt = "portrait of a warrior chief"
    images = draw_prompts(pipeline, [prompt] * 64, list(range(64)), **settings)
    drawn = pd.DataFrame([vars(dataset.spec_of(i)) for i in range(64)])
    rows = {}
    for attribute, values in VALUES.items():
        if attribute not in ("subject", "age"):
            spread = [
                sample[attribute].value_counts(normalize=True).reindex(values, fill_value=0)
                for sample in (read_attributes(images, judge), drawn)
            ]
            rows[attribute] = [0.5 * (s - 1 / len(values)).abs().sum() for s in spread]
    return pd.DataFrame(rows, index=["the model", "64 drawings"]).T


def exactness(pipeline: DiffusionPipeline, **settings: object) -> dict:
    """Is a seed the same picture again, and in a batch? The largest difference, of 255."""

    def one(seeds: list[int]) -> list[np.ndarray]:
        prompts = ["portrait photo of a old warrior chief"] * len(seeds)
        images = pipeline(prompts, generator=make_generators(seeds), **settings).images
        return [np.asarray(i, int) for i in images]

    alone, again, batch = one([3]), one([3]), one([0, 1, 2, 3])
    return {
        "again": int(np.abs(alone[0] - again[0]).max()),
        "in a batch": int(np.abs(alone[0] - batch[3]).max()),
    }


def seconds(pipeline: DiffusionPipeline, **settings: object) -> float:
    """Median time of one picture, of five, after one to warm up."""
    runs = []
    for _ in range(6):
        start = time.perf_counter()
        pipeline("portrait photo of a old warrior chief", **settings)
        runs.append(time.perf_counter() - start)
    return median(runs[1:])


def few_steps_figures(prompts: list[str], judge: Judge) -> list[tuple[str, str, str]]:
    """Rows of the card for the weights with which few steps are enough: adherence and seconds."""
    pipeline = use_few_steps(load_pipeline(), MODELS["tiny-portraits"].few_steps)
    pipeline.set_progress_bar_config(disable=True)
    seeds, shares, times = list(range(len(prompts))), [], []
    for steps in (4, 2, 1):
        settings = {"num_inference_steps": steps, "guidance_scale": 1}
        images = draw_prompts(pipeline, prompts, seeds, **settings)
        shares.append(f"{100 * adherence(images, prompts, judge).stack().mean():.1f}")
        times.append(f"{seconds(pipeline, **settings):.2f} s")
    weights = "`models/tiny-portraits-lcm`, 4, 2 and 1 steps"
    return [
        (f"{weights}: adherence, mean", ", ".join(shares), "at most 2 below 20 steps"),
        (f"{weights}: one picture", ", ".join(times), "0.15 s"),
    ]


def cold_start() -> float:
    """Seconds from a new `python` to its first picture on disk."""
    with tempfile.TemporaryDirectory() as folder:
        code = (
            "from diffusers import DiffusionPipeline as D; "
            f"p = D.from_pretrained({str(MODELS_FOLDER / 'tiny-portraits')!r}, "
            "use_safetensors=True); p('portrait photo of a old warrior chief')"
            f".images[0].save({str(Path(folder) / 'first.png')!r})"
        )
        start = time.perf_counter()
        subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
        return time.perf_counter() - start


def megabytes(folder: Path) -> float:
    """Size of all files in a folder, in units of 10^6 bytes."""
    return sum(f.stat().st_size for f in folder.rglob("*") if f.is_file()) / 1e6


def markdown(table: pd.DataFrame) -> str:
    """A Markdown table with the index as its first column.

    >>> print(markdown(pd.DataFrame({"share": [0.5]}, index=["age"])))
    | | share |
    |---|---|
    | age | 0.5 |
    """
    rows = [["", *table.columns], *([str(v) for v in row] for row in table.itertuples())]
    lines = ["| " + " | ".join(row).strip() + " |" for row in rows]
    return "\n".join([lines[0], "|---" * len(rows[0]) + "|", *lines[1:]])


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

It was trained from nothing on {pictures} drawings made by `training/portraits.py`;
no photograph, no artist's work and no other model went into it. It knows what they show, no more:
{subjects}; young, grown, old and oldest; ten colours of figure and background; front and side;
and the phrases of `models/tiny-judge/vocabulary.json`. Other words are read past or misread.
Licence: Apache-2.0, the weights included.

| part | parameters |
|---|---|
{parts}

On disk {size:.1f} MB; all of `models/` {all_size:.1f} MB. UNet and autoencoder rest in float16.

## Figures

Measured by `make evaluate` on {machine}, torch {torch}, diffusers {diffusers}. Percentages unless
a unit is given. Adherence is what the judge (`models/tiny-judge`) reads; its own accuracy is the
first column of the table below.

| what | figure | bar |
|---|---|---|
{rows}

### The judge on {held_out} unseen drawings, and adherence by attribute

{attributes}

{count} unseen prompts of 4 to 11 attributes, the first {compared} of them for PNDM; guidance scale
{scale}.

### Spread of the open attributes

64 seeds of "portrait of a warrior chief": total variation distance from an even spread.

{spread}
"""


def main() -> None:
    """Measure, write the card and the pictures in docs/, print the card."""
    parser = argparse.ArgumentParser("python -m training.evaluate", description=__doc__)
    parser.add_argument("--state", type=Path, default=Path("~/.cache/tiny-portraits").expanduser())
    parser.add_argument("--prompts", type=int, default=512)
    parser.add_argument("--seeds", type=int, default=32, help="of lesson L15")
    parser.add_argument("--guidance-scale", type=float, default=7.5)
    options = parser.parse_args()
    scale = {"guidance_scale": options.guidance_scale}
    pictures = dataset.pictures(options.state / "held-out", dataset.HELD_OUT)[: dataset.HELD_OUT]
    judge, pipeline = load_judge(), load_pipeline()
    pipeline.set_progress_bar_config(disable=True)
    accuracy = judge_accuracy(judge, pictures)

    prompts = unseen_prompts(options.prompts)
    seeds = list(range(len(prompts)))
    roads = {BEST: ("DPMSolverMultistepScheduler", 20),
             "PNDM 50": ("PNDMScheduler", 50), "PNDM 10": ("PNDMScheduler", 10)}  # fmt: skip
    found = {}
    for name, (scheduler, steps) in roads.items():
        use_scheduler(pipeline, scheduler)
        some = prompts if name == BEST else prompts[:COMPARED]
        images = draw_prompts(pipeline, some, seeds, num_inference_steps=steps, **scale)
        found[name] = adherence(images, some, judge)
    mean = 100 * found[BEST].stack().mean()
    alike = [100 * right[:COMPARED].stack().mean() for right in found.values()]

    use_scheduler(pipeline, "DPMSolverMultistepScheduler")
    settings = {"num_inference_steps": 20, **scale}
    four = ages(pipeline, judge, options.seeds, **settings | {"num_inference_steps": 25})
    spread = diversity(pipeline, judge, **settings)
    exact = exactness(pipeline, **settings)
    own = pipeline.vae
    further = AutoencoderKL.from_pretrained(MODELS_FOLDER / "tiny-portraits-vae-ft")
    decibels = [psnr(vae, pictures[:500]) for vae in (own, further)]
    twenty = seconds(pipeline, num_inference_steps=20)
    fifty = seconds(use_scheduler(pipeline, "PNDMScheduler"), num_inference_steps=50)
    few = few_steps_figures(prompts, judge)
    columns = {"judge": accuracy} | {name: right.mean() for name, right in found.items()}
    table = pd.DataFrame(columns).astype(float)
    best = table[BEST]
    lowest = best.idxmin()
    rows = [
        ("judge, lowest accuracy of an attribute",
         f"{100 * accuracy.min():.1f} ({accuracy.idxmin()})", "97"),
        ("autoencoder on held-out drawings", f"{decibels[0]:.2f} dB", "28 dB"),
        ("the same with the further-trained decoder", f"{decibels[1]:.2f} dB",
         "30 dB, and 1.5 dB more than its own"),
        ("adherence, mean", f"{mean:.1f}", "95"),
        ("adherence, lowest attribute", f"{100 * best[lowest]:.1f} ({lowest})", "90"),
        (f"the first {COMPARED} prompts: DPM-Solver++ 20, PNDM 50, PNDM 10 steps",
         ", ".join(f"{share:.1f}" for share in alike),
         "the second within 1 of the first, the third measurably worse"),
        (f"four ages, one seed: all four right, of {options.seeds} seeds",
         f"{100 * four['ages right']:.0f}", "80"),
        ("four ages, one seed: view, colours and make-up the same",
         f"{100 * four['rest the same']:.0f}", "90"),
        ("same seed again: largest difference", f"{exact['again']} of 255", "0"),
        ("picture 4 of a batch against the picture alone", f"{exact['in a batch']} of 255", "2"),
        ("one picture, DPM-Solver++, 20 steps", f"{twenty:.2f} s", "0.8 s"),
        ("one picture, PNDM, 50 steps", f"{fifty:.2f} s", "2 s"),
        ("from a cold `python` to the first picture, 50 steps", f"{cold_start():.1f} s", "15 s"),
        *few,
    ]  # fmt: skip
    parts = {name: getattr(pipeline, name) for name in ("unet", "vae", "text_encoder")}
    card = CARD.format(
        pictures="12,000", subjects=", ".join(VALUES["subject"]),
        parts="\n".join(f"| {name} | {sum(p.numel() for p in part.parameters()):,} |"
                        for name, part in parts.items()),
        size=megabytes(MODELS_FOLDER / "tiny-portraits"), all_size=megabytes(MODELS_FOLDER),
        machine=f"{torch.get_num_threads()} CPU cores ({platform.machine()})",
        torch=torch.__version__.split("+")[0], diffusers=diffusers.__version__,
        rows="\n".join("| " + " | ".join(row) + " |" for row in rows),
        held_out=len(pictures), attributes=markdown((100 * table).round(1)), count=len(prompts),
        compared=COMPARED,
        scale=options.guidance_scale, spread=markdown(spread.round(2)),
    )  # fmt: skip
    path = MODELS_FOLDER / "tiny-portraits" / "README.md"
    path.write_text(card, encoding="utf-8")
    drawings = [Image.fromarray(picture) for picture in pictures[:16]]
    make_image_grid(drawings, 4, 4).save(MODELS_FOLDER.parent / "docs" / "drawings.png")
    print(card)


if __name__ == "__main__":
    main()
