"""`make evaluate`: measure the embedded models, write models/tiny-portraits/README.md, their card.

Two readers say what a picture shows: the judge, which took part in the training, and the examiner,
which did not. Both are examined themselves, on drawings they have not seen, and both read whatever
the models draw; how like drawings it looks, no network says. Every figure of the card comes from
this run.
"""

from __future__ import annotations

import argparse
import platform
import subprocess
import time
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from statistics import median
from typing import NamedTuple

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
    load_judge,
    load_pipeline,
    make_generators,
    read_attributes,
    use_scheduler,
    wanted_attributes,
)
from labs.fast import use_few_steps
from training import autoencoder, captions, card, dataset, examiner
from training.portraits import VALUES
from training.texture import edge_strength, sliced_wasserstein

Reader = Callable[[Sequence[Image.Image]], pd.DataFrame]  # as `helpers.read_attributes` returns it

NEW = 10_000_000  # numbers of specifications that no dataset reaches
BATCH = 8
SOLVER = "DPMSolverMultistepScheduler"
COMPARED = 128  # prompts that the other schedulers draw too
FOUR_STEPS = {"num_inference_steps": 4, "guidance_scale": 1}
TAIL = (
    ", tribal panther make up, blue on red, side profile, looking away, serious eyes"
    " 50mm portrait photography, hard rim lighting photography--beta --ar 2:3  --beta --upbeta"
)
AGES = {"oldest": "the oldest", "old": "a old", "adult": "a", "young": "a young"}
COMPOSITION = ["view", "direction", "figure", "background", "make_up"]  # what an age leaves alone


# --- what is drawn ------------------------------------------------------------------------------


def draw_prompts(
    pipeline: DiffusionPipeline, prompts: list[str], seeds: Sequence[int], **settings: object
) -> list:
    """One picture a prompt and seed, or its latents, drawn in batches."""
    images = []
    for start in tqdm(range(0, len(prompts), BATCH), "drawing", leave=False):
        part = slice(start, start + BATCH)
        generator = make_generators(seeds[part])
        images += pipeline(prompts[part], generator=generator, **settings).images
    return images


def unseen_prompts(count: int) -> list[str]:
    """Prompts of specifications never drawn, naming 4 to 11 attributes."""
    prompts = []
    for i in range(NEW, NEW + count):
        rng = np.random.default_rng(i)
        prompts.append(captions.full_caption(dataset.spec_of(i), rng, rng.integers(2, 10))[0])
    return prompts


def own_captions(count: int) -> list[str]:
    """Captions that name every attribute of the first `count` drawings."""
    rng = np.random.default_rng(0)  # chooses among clauses, and all of them are wanted
    return [captions.full_caption(dataset.spec_of(i), rng, len(VALUES))[0] for i in range(count)]


def to_images(pictures: np.ndarray) -> list[Image.Image]:
    """Pictures of an array (N, H, W, 3) uint8."""
    return [Image.fromarray(picture) for picture in pictures]


@torch.no_grad()
def decode(vae: AutoencoderKL, latents: Sequence[torch.Tensor]) -> list[Image.Image]:
    """Pictures of the latents that a pipeline leaves, each (C, h, w)."""
    images = []
    for start in range(0, len(latents), BATCH):
        some = torch.stack(list(latents[start : start + BATCH])) / vae.config.scaling_factor
        images += to_images(autoencoder.to_pictures(vae.decode(some).sample))
    return images


@torch.no_grad()
def encode(vae: AutoencoderKL, pictures: np.ndarray) -> list[torch.Tensor]:
    """What `decode` takes, of pictures (N, H, W, 3) uint8."""
    latents = []
    for start in range(0, len(pictures), BATCH):
        some = autoencoder.to_tensor(pictures[start : start + BATCH], vae.device)
        latents += list(vae.encode(some).latent_dist.mean * vae.config.scaling_factor)
    return latents


# --- what is measured ---------------------------------------------------------------------------


def textures(sets: dict[str, list[Image.Image]], drawings: np.ndarray) -> pd.DataFrame:
    """How far each set is from `drawings`, as many, on each level, and its edges over theirs."""
    place = torch.device("cpu")
    true = autoencoder.to_tensor(drawings, place)
    rows = {}
    for name, images in sets.items():
        made = autoencoder.to_tensor(np.stack([np.asarray(i) for i in images]), place)
        edges = edge_strength(made) / edge_strength(true)
        rows[name] = sliced_wasserstein(made, true) | {"edges": edges}
    return pd.DataFrame(rows).T


def accuracy(read: pd.DataFrame) -> pd.Series:
    """Share of the first drawings that were read right, by attribute; a direction counts where a
    face looks to the side."""
    true = pd.DataFrame([vars(dataset.spec_of(i)) for i in range(len(read))])
    true["direction"] = true["direction"].where(true["view"] == "side")
    right = (read == true[read.columns]).astype("boolean")
    return right.where(true[read.columns].notna()).mean()


def followed(read: pd.DataFrame, prompts: list[str]) -> pd.DataFrame:
    """Which attributes came out as each prompt wanted them, NA where it leaves one open."""
    wanted = [wanted_attributes(prompt, captions.VOCABULARY) for prompt in prompts]
    table = pd.DataFrame(wanted, columns=list(VALUES))
    return (read[table.columns] == table).astype("boolean").where(table.notna())


def ages_of(read: pd.DataFrame) -> dict[str, float]:
    """Of rows that are `AGES` for one seed after the other: the share of seeds with all four right,
    of those whose composition the age has not changed, and the same of each part of it."""
    seed = np.arange(len(read)) // len(AGES)
    right = read["age"] == list(AGES) * (len(read) // len(AGES))
    same = read[COMPOSITION].groupby(seed).nunique(dropna=False) == 1
    shares = {"right": right.groupby(seed).all().mean(), "kept": same.all(axis=1).mean()}
    return shares | same.mean().to_dict()


def spread_of(read: pd.DataFrame) -> pd.DataFrame:
    """How far pictures of one short prompt are from an even spread, attribute by attribute.

    The distance is the total variation, 0 for even and near 1 for always the same; beside it that
    of as many drawings, which are spread by chance alone.
    """
    drawn = pd.DataFrame([vars(dataset.spec_of(i)) for i in range(len(read))])
    rows = {}
    for attribute, values in VALUES.items():
        if attribute not in ("subject", "age"):
            spread = [
                sample[attribute].value_counts(normalize=True).reindex(values, fill_value=0)
                for sample in (read, drawn)
            ]
            rows[attribute] = [0.5 * (s - 1 / len(values)).abs().sum() for s in spread]
    return pd.DataFrame(rows, index=["the model", f"{len(read)} drawings"]).T


def exactness(pipeline: DiffusionPipeline, **settings: object) -> dict[str, int]:
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


def total_bytes(files: Iterable[Path]) -> int:
    """Size of those files that are there."""
    return sum(file.stat().st_size for file in files if file.is_file())


def committed() -> list[Path]:
    """All files of the repository that Git knows."""
    root = MODELS_FOLDER.parent
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=root, check=True, capture_output=True, text=True
    )
    return [root / name for name in listed.stdout.split("\0") if name]


# --- all of it ----------------------------------------------------------------------------------


class Pipelines(NamedTuple):
    """What is measured: the final model, the early checkpoint, the final model in few steps."""

    final: DiffusionPipeline
    early: DiffusionPipeline
    few: DiffusionPipeline


def load() -> Pipelines:
    """The pipelines, silent; where steps are many, DPM-Solver++ takes them."""
    model = MODELS["tiny-portraits"]
    final, early = (load_pipeline(name, scheduler=SOLVER) for name in (model.name, model.earlier))
    loaded = Pipelines(final, early, use_few_steps(load_pipeline(model.name), model.few_steps))
    for pipeline in loaded:
        pipeline.set_progress_bar_config(disable=True)
    return loaded


def texture_sets(
    pipelines: Pipelines, drawings: np.ndarray, count: int, **settings: object
) -> dict[str, list[Image.Image]]:
    """The sets to be held against the first `count` drawings."""
    final, early, few = pipelines
    crisp = AutoencoderKL.from_pretrained(MODELS_FOLDER / MODELS["tiny-portraits"].vae)
    own, seeds, full = drawings[:count], range(count), own_captions(count)
    latents = draw_prompts(early, full, seeds, output_type="latent", **settings)
    return {
        card.AGAIN: to_images(drawings[count : 2 * count]),
        card.SHIPPED: decode(final.vae, encode(final.vae, own)),
        card.SOFT: decode(early.vae, encode(early.vae, own)),
        card.DRAWN: draw_prompts(final, full, seeds, **settings),
        card.DRAWN_FOUR: draw_prompts(few, full, seeds, **FOUR_STEPS),
        card.DRAWN_EARLY: decode(early.vae, latents),
        card.EARLY_CRISP: decode(crisp.to(early.device), latents),
    }


def unseen_sets(
    pipelines: Pipelines, prompts: list[str], scale: dict[str, float]
) -> dict[str, list[Image.Image]]:
    """What is drawn from unseen prompts; by PNDM, whose steps are many, from the first of them."""
    final, _, few = pipelines
    sets = {card.FOUR: draw_prompts(few, prompts, range(len(prompts)), **FOUR_STEPS)}
    for name, scheduler, steps, some in (
        (card.PNDM_50, "PNDMScheduler", 50, prompts[:COMPARED]),
        (card.PNDM_10, "PNDMScheduler", 10, prompts[:COMPARED]),
        (card.UNSEEN, SOLVER, 20, prompts),  # last, so that the pipeline keeps this scheduler
    ):
        use_scheduler(final, scheduler)
        seeds = range(len(some))
        sets[name] = draw_prompts(final, some, seeds, num_inference_steps=steps, **scale)
    return sets


def aged(pipeline: DiffusionPipeline, seeds: int, **settings: object) -> list[Image.Image]:
    """Lesson L15 over many seeds: for each seed the four `AGES`."""
    prompts = [f"portrait photo of {age} warrior chief{TAIL}" for age in AGES.values()] * seeds
    each = [seed for seed in range(seeds) for _ in AGES]
    return draw_prompts(pipeline, prompts, each, num_inference_steps=25, **settings)


def measure(
    drawings: np.ndarray, readers: dict[str, Reader], options: argparse.Namespace
) -> card.Figures:
    """Draw every set of pictures once, and have all of it measured and read."""
    scale = {"guidance_scale": options.guidance_scale}
    twenty = {"num_inference_steps": 20, **scale}
    pipelines, prompts = load(), unseen_prompts(options.prompts)
    final, full = pipelines.final, own_captions(options.drawings)
    texture = texture_sets(pipelines, drawings, options.drawings, **twenty)
    drawn = unseen_sets(pipelines, prompts, scale)
    asked = {name: (images, prompts[: len(images)]) for name, images in drawn.items()}
    asked[card.FINAL] = (texture[card.DRAWN], full)
    asked[card.EARLY] = (texture[card.DRAWN_EARLY], full)
    ages = aged(final, options.seeds, **scale)
    chief = draw_prompts(final, ["portrait of a warrior chief"] * 64, range(64), **twenty)
    parts = {name: getattr(final, name) for name in ("unet", "vae", "text_encoder")}
    return card.Figures(
        textures=textures(texture, drawings[: options.drawings]),
        accuracy=pd.DataFrame({who: accuracy(read(to_images(drawings)))
                               for who, read in readers.items()}),
        right={name: {who: followed(read(images), wanted) for who, read in readers.items()}
               for name, (images, wanted) in asked.items()},
        ages={who: ages_of(read(ages)) for who, read in readers.items()},
        seeds=options.seeds, spread=spread_of(readers["judge"](chief)),
        differences=exactness(final, **twenty), seconds=seconds(final, **twenty),
        parts={name: sum(p.numel() for p in part.parameters()) for name, part in parts.items()},
        size=total_bytes(MODELS_FOLDER.glob("tiny-portraits/**/*")) / 1e6,
        tree=total_bytes(committed()) / 2**20,
    )  # fmt: skip


def main() -> None:
    """Measure, write the card and the drawings in docs/, print the card."""
    parser = argparse.ArgumentParser("python -m training.evaluate", description=__doc__)
    parser.add_argument("--state", type=Path, default=Path("~/.cache/tiny-portraits").expanduser())
    parser.add_argument("--prompts", type=int, default=512)
    parser.add_argument("--drawings", type=int, default=192, help="that textures are held against")
    parser.add_argument("--seeds", type=int, default=32, help="of lesson L15")
    parser.add_argument("--guidance-scale", type=float, default=7.5)
    options = parser.parse_args()
    if not list(options.state.glob("pictures-*[0-9].npy")):
        parser.error(f"{options.state} holds no drawings: run `make model` first.")
    every = autoencoder.read_pictures(options.state)
    held_out, judge = np.array(every[: dataset.HELD_OUT]), load_judge()
    readers: dict[str, Reader] = {
        "judge": partial(read_attributes, judge=judge),
        "examiner": partial(
            examiner.read, examiner=examiner.fit(options.state, judge.model.device)
        ),
    }
    figures = measure(held_out, readers, options)
    cores = f"{torch.get_num_threads()} CPU cores ({platform.machine()})"
    versions = f"torch {torch.__version__.split('+')[0]}, diffusers {diffusers.__version__}"
    written = card.text(
        figures, drawings=len(every) - len(held_out), held_out=len(held_out),
        subjects=", ".join(VALUES["subject"]), machine=f"{cores}, {versions}",
        scale=options.guidance_scale, all_size=total_bytes(MODELS_FOLDER.rglob("*")) / 1e6,
    )  # fmt: skip
    path = MODELS_FOLDER / "tiny-portraits" / "README.md"
    path.write_text(written, encoding="utf-8")
    shown = to_images(held_out[:16])
    make_image_grid(shown, 4, 4).save(MODELS_FOLDER.parent / "docs" / "drawings.png")
    print(written)


if __name__ == "__main__":
    main()
