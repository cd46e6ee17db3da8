"""`make evaluate`: measure the embedded models and write their card (tiny-portraits/README.md).

The judge says what an image shows. It took no part in the models' training and is examined itself,
on drawings that it has not seen. How much images look like drawings is measured without a network.
"""

from __future__ import annotations

import argparse
import platform
from collections.abc import Sequence
from pathlib import Path

import diffusers
import numpy as np
import pandas as pd
import torch
from diffusers import (
    AutoencoderKL,
    DiffusionPipeline,
    LCMScheduler,
    StableDiffusionImg2ImgPipeline,
)
from diffusers.utils import make_image_grid
from PIL import Image
from tqdm.auto import tqdm

from helpers import (
    MODELS_FOLDER,
    adherence,
    load_judge,
    load_pipeline,
    make_generators,
    read_attributes,
    set_threads_for,
    use_scheduler,
)
from helpers.judge import Judge
from training import autoencoder, captions, card, dataset, style
from training.dataset import FIRST_UNSEEN_SPEC, spec_of
from training.portraits import VALUES, Spec, draw
from training.texture import edge_strength, sliced_wasserstein
from training.workspace import Workspace

Images = Sequence[Image.Image]

BATCH = 8
SOLVER = "DPMSolverMultistepScheduler"
STYLE, STYLED = "neon", 64  # the style of the checkpoint, and the prompts that it gets
COMPARED = 128  # prompts that the other schedulers get, too
FACE = (slice(28, 104), slice(32, 96))  # rows and columns of a face in an image
REDRAW = {"strength": 0.25, "num_inference_steps": 40}  # from step 250 of 1,000
LEAST_MARGIN = 0.01  # 99 of 100 bare drawings are read as bare with a wider margin
DETAILS = (
    ", tribal panther make up, blue on red, side profile, looking away, serious eyes"
    " 50mm portrait photography, hard rim lighting photography--beta --ar 2:3  --beta --upbeta"
)
AGES = {"oldest": "the oldest", "old": "a old", "adult": "a", "young": "a young"}
COMPOSITION = ["view", "direction", "figure", "background", "make_up"]  # what an age leaves alone


# --- what is generated --------------------------------------------------------------------------


def generate(
    pipeline: DiffusionPipeline, prompts: list[str], seeds: Sequence[int], **settings: object
) -> list:
    """One image for each prompt and seed, or its latents, in batches."""
    images = []
    for start in tqdm(range(0, len(prompts), BATCH), "generating", leave=False):
        part = slice(start, start + BATCH)
        generator = make_generators(seeds[part])
        images += pipeline(prompts[part], generator=generator, **settings).images
    return images


def unseen_prompts(count: int) -> list[str]:
    """Prompts of specifications that no dataset has, naming about 4 to 11 attributes."""
    prompts = []
    for number in range(FIRST_UNSEEN_SPEC, FIRST_UNSEEN_SPEC + count):
        rng = np.random.default_rng(number)
        prompts.append(captions.full_caption(spec_of(number), rng, rng.integers(2, 10))[0])
    return prompts


def all_attributes(count: int) -> list[str]:
    """Prompts that name every attribute of the first `count` drawings."""
    rng = np.random.default_rng(0)  # chooses among clauses, and all of them are wanted
    return [captions.full_caption(spec_of(n), rng, len(VALUES))[0] for n in range(count)]


def short_prompts(count: int) -> tuple[list[Spec], list[str]]:
    """Prompts that name subject, age and at most two further attributes of a bare face, three in
    four a photo; and specifications that satisfy them."""
    specs, prompts = [], []
    for number in range(FIRST_UNSEEN_SPEC, FIRST_UNSEEN_SPEC + count):
        rng, spec = np.random.default_rng(number), vars(spec_of(number)) | {"make_up": "none"}
        spec = Spec(**spec | ({"style": "photo"} if rng.random() < 0.75 else {}))
        specs.append(spec)
        prompts.append(captions.full_caption(spec, rng, rng.integers(3))[0])
    return specs, prompts


def to_images(array: np.ndarray) -> list[Image.Image]:
    """The images of an array (n, H, W, 3) uint8."""
    return [Image.fromarray(image) for image in array]


def to_array(images: Images) -> np.ndarray:
    """Images of one size as (n, H, W, 3) uint8."""
    return np.stack([np.asarray(image.convert("RGB")) for image in images])


@torch.no_grad()
def decode(vae: AutoencoderKL, latents: Sequence[torch.Tensor]) -> list[Image.Image]:
    """The images of latents as a pipeline returns them, each (12, 16, 16)."""
    images = []
    for start in range(0, len(latents), BATCH):
        batch = torch.stack(list(latents[start : start + BATCH])) / vae.config.scaling_factor
        images += to_images(autoencoder.to_images(vae.decode(batch).sample))
    return images


@torch.no_grad()
def encode(vae: AutoencoderKL, drawings: np.ndarray) -> list[torch.Tensor]:
    """The latents of drawings (n, H, W, 3) uint8, as `decode` takes them."""
    latents = []
    for start in range(0, len(drawings), BATCH):
        batch = autoencoder.to_tensor(drawings[start : start + BATCH], vae.device)
        latents += list(vae.encode(batch).latent_dist.mean * vae.config.scaling_factor)
    return latents


# --- what is measured ---------------------------------------------------------------------------


def texture(images: Images, drawings: np.ndarray) -> dict[str, float]:
    """The distance of images from as many drawings on each level, and their edges over theirs."""
    made, true = (
        autoencoder.to_tensor(array, torch.device("cpu")) for array in (to_array(images), drawings)
    )
    edges = edge_strength(made) / edge_strength(true)
    return sliced_wasserstein(made, true) | {"edges": edges}


def accuracy(read: pd.DataFrame) -> pd.Series:
    """The share of the first drawings that were read correctly, by attribute; a direction counts
    where a face looks to the side."""
    true = pd.DataFrame([vars(spec_of(number)) for number in range(len(read))])
    true["direction"] = true["direction"].where(true["view"] == "side")
    right = (read == true[read.columns]).astype("boolean")
    return right.where(true[read.columns].notna()).mean()


def ages_of(read: pd.DataFrame) -> dict[str, float]:
    """Of rows that are `AGES` for one seed after the other: the share of seeds with all four right,
    of those whose composition is the same in all four, and the same of each part of it."""
    seed = np.arange(len(read)) // len(AGES)
    right = read["age"] == list(AGES) * (len(read) // len(AGES))
    same = read[COMPOSITION].groupby(seed).nunique(dropna=False) == 1
    shares = {"right": right.groupby(seed).all().mean(), "same": same.all(axis=1).mean()}
    return shares | same.mean().to_dict()


@torch.no_grad()
def clip_outputs(
    images: Images, judge: Judge, texts: list[str]
) -> tuple[torch.Tensor, torch.Tensor]:
    """CLIP's logits of images and texts, (n, texts), and the images' features, (n, 96)."""
    logits, features = [], []
    for start in range(0, len(images), 64):
        batch = list(images[start : start + 64])
        inputs = judge.processor(text=texts, images=batch, padding=True, return_tensors="pt")
        output = judge.model(**inputs.to(judge.model.device))
        logits.append(output.logits_per_image.cpu())
        features.append(output.image_embeds.cpu())  # of length 1
    return torch.cat(logits), torch.cat(features)


def bare_margins(images: Images, judge: Judge) -> np.ndarray:
    """By how much each face is read as bare rather than as any make-up, in logits, (n,)."""
    logits, _ = clip_outputs(images, judge, captions.phrases("make_up"))
    bare = list(captions.VOCABULARY["make_up"]["values"]).index("none")
    others = torch.cat([logits[:, :bare], logits[:, bare + 1 :]], 1)
    return (logits[:, bare] - others.amax(1)).numpy()


def face_redraw(
    pipeline: DiffusionPipeline, drawings: np.ndarray, judge: Judge, scale: float
) -> dict[str, float]:
    """Noise drawings to step 250, denoise them with captions that name every attribute, compare.

    Returns:
        "l1": the mean absolute difference in the face over that of the autoencoder alone;
        "features": the judge's cosine distance, over that of the autoencoder alone.
    """
    image_to_image = StableDiffusionImg2ImgPipeline(
        **pipeline.components, requires_safety_checker=False
    )
    image_to_image.set_progress_bar_config(disable=True)
    prompts, true = all_attributes(len(drawings)), to_images(drawings)
    redrawn: list[Image.Image] = []
    for start in tqdm(range(0, len(drawings), BATCH), "redrawing", leave=False):
        part = slice(start, start + BATCH)
        redrawn += image_to_image(
            prompts[part], image=true[part], guidance_scale=scale,
            generator=make_generators(range(len(drawings))[part]), **REDRAW,
        ).images  # fmt: skip
    decoded = decode(pipeline.vae, encode(pipeline.vae, drawings))
    _, wanted = clip_outputs(true, judge, [""])

    def errors(images: Images) -> np.ndarray:
        difference = np.abs(to_array(images).astype(float) - drawings)[:, *FACE].mean()
        _, features = clip_outputs(images, judge, [""])
        return np.array([difference, 1 - float((features * wanted).sum(1).mean())])

    return dict(zip(("l1", "features"), errors(redrawn) / errors(decoded), strict=True))


def short_prompt_figures(
    pipeline: DiffusionPipeline, drawings: np.ndarray, judge: Judge, count: int, **settings: object
) -> dict[str, float]:
    """What short prompts give. `drawings` say how sure the judge is of a bare face.

    Returns:
        "bare", "decoded": the share of clearly bare faces, generated and of `drawings` that went
        through the autoencoder; "subject": the share with the right subject; and SWD from drawings
        that satisfy the same prompts.
    """
    specs, prompts = short_prompts(count)
    images = generate(pipeline, prompts, range(count), **settings)
    bare = [n for n in range(len(drawings)) if spec_of(n).make_up == "none"]
    least = np.quantile(bare_margins(to_images(drawings[bare]), judge), LEAST_MARGIN)
    decoded = decode(pipeline.vae, encode(pipeline.vae, drawings[bare]))
    subject = read_attributes(images, judge)["subject"] == [spec.subject for spec in specs]
    shares = {
        name: (bare_margins(made, judge) >= least).mean()
        for name, made in (("bare", images), ("decoded", decoded))
    } | {"subject": subject.mean()}
    return shares | texture(images, to_array([draw(spec) for spec in specs]))


def style_figures(
    final: DiffusionPipeline, styled: DiffusionPipeline, prompts: list[str], judge: Judge,
    **settings: object,
) -> dict[str, float]:  # fmt: skip
    """What a checkpoint with a style of its own gains in that style and loses elsewhere.

    Returns:
        "styled" and "final": the mean distance of pixels from the style's colors, in units of 255,
        where prompts name the style; "lost": adherence lost where they do not, in points.
    """
    seeds, palette = range(len(prompts)), np.array(style.STYLES[STYLE].palette)
    named = [f"{STYLE} portrait{text[text.index(' of ') :]}" for text in prompts]
    places = np.linspace(0, len(palette) - 1, 33)
    colors = np.stack([np.interp(places, range(len(palette)), c) for c in palette.T], -1)

    def distance(pipeline: DiffusionPipeline) -> float:
        pixels = to_array(generate(pipeline, named, seeds, **settings))[..., None, :]
        return float(np.mean([np.linalg.norm(p - colors, axis=-1).min(-1).mean() for p in pixels]))

    right = [adherence(generate(pipeline, prompts, seeds, **settings), prompts, judge)
             for pipeline in (final, styled)]  # fmt: skip
    lost = card.percent(right[0]) - card.percent(right[1])
    return {"styled": distance(styled), "final": distance(final), "lost": lost}


def loaded_pipelines() -> dict[str, DiffusionPipeline]:
    """The final, the early and the styled model with DPM-Solver++, and the few-step model."""
    few = load_pipeline("tiny-portraits", device="cpu")
    few.load_lora_weights(MODELS_FOLDER / "tiny-portraits-lcm")
    few.scheduler = LCMScheduler.from_config(few.scheduler.config)
    names = {"final": "", "early": "-early", "styled": f"-{STYLE}"}
    pipelines = {
        key: load_pipeline(f"tiny-portraits{name}", device="cpu", scheduler=SOLVER)
        for key, name in names.items()
    }
    pipelines["few"], final = few, pipelines["final"]
    set_threads_for(final)
    for pipeline in pipelines.values():
        pipeline.set_progress_bar_config(disable=True)
    return pipelines


def measure(drawings: np.ndarray, judge: Judge, options: argparse.Namespace) -> card.Figures:
    """Generate every set of images once, and measure it."""
    scale = {"guidance_scale": options.guidance_scale}
    twenty, four = {"num_inference_steps": 20, **scale}, {"num_inference_steps": 4}
    four["guidance_scale"] = 1  # the weights hold the guidance
    pipelines, count = loaded_pipelines(), options.compared
    final, early, few = (pipelines[name] for name in ("final", "early", "few"))
    crisp = AutoencoderKL.from_pretrained(MODELS_FOLDER / "tiny-portraits-vae-ft")
    compared, seeds, full = drawings[:count], range(count), all_attributes(count)
    early_latents = generate(early, full, seeds, output_type="latent", **twenty)
    sets = {
        card.OTHERS: to_images(drawings[count : 2 * count]),
        card.CRISP: decode(final.vae, encode(final.vae, compared)),
        card.SOFT: decode(early.vae, encode(early.vae, compared)),
        card.FINAL: generate(final, full, seeds, **twenty),
        card.FOUR_STEPS: generate(few, full, seeds, **four),
        card.EARLY: decode(early.vae, early_latents),
        card.EARLY_CRISP: decode(crisp, early_latents),
    }
    right = {name: adherence(sets[name], full, judge) for name in (card.FINAL, card.EARLY)}
    prompts = unseen_prompts(options.prompts)
    fewer = prompts[:COMPARED]
    images = generate(few, prompts, range(len(prompts)), **four)
    right[card.UNSEEN_4] = adherence(images, prompts, judge)
    images = generate(final, prompts, range(len(prompts)), **twenty)
    right[card.UNSEEN] = adherence(images, prompts, judge)
    ages = [f"portrait photo of {age} warrior chief{DETAILS}" for age in AGES.values()]
    repeated = [seed for seed in range(options.seeds) for _ in AGES]
    aged = generate(final, ages * options.seeds, repeated, num_inference_steps=25, **scale)
    styled = style_figures(final, pipelines["styled"], fewer[:STYLED], judge, **twenty)
    short = short_prompt_figures(final, drawings, judge, options.short, **twenty)
    redraw = face_redraw(final, compared, judge, options.guidance_scale)
    use_scheduler(final, "PNDMScheduler")
    for name, steps in ((card.PNDM_50, 50), (card.PNDM_10, 10)):
        images = generate(final, fewer, range(len(fewer)), num_inference_steps=steps, **scale)
        right[name] = adherence(images, fewer, judge)
    parts = {name: getattr(final, name) for name in ("unet", "vae", "text_encoder")}
    return card.Figures(
        textures=pd.DataFrame({name: texture(images, compared) for name, images in sets.items()}).T,
        right=right, accuracy=accuracy(read_attributes(to_images(drawings), judge)),
        ages=ages_of(read_attributes(aged, judge)), seeds=options.seeds, short=short,
        redraw=redraw, styled=styled,
        parts={name: sum(p.numel() for p in part.parameters()) for name, part in parts.items()},
        megabytes=megabytes(MODELS_FOLDER / "tiny-portraits"),
    )  # fmt: skip


def megabytes(folder: Path) -> float:
    """The size of the files in a folder, in units of 10^6 bytes."""
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) / 1e6


def main() -> None:
    """Measure, write the card and the drawings in docs/, print the card."""
    parser = argparse.ArgumentParser("python -m training.evaluate", description=__doc__)
    parser.add_argument("--state", type=Path, default=Path("~/.cache/tiny-portraits").expanduser())
    parser.add_argument("--drawings", type=int, default=24_000, help="in the state folder")
    parser.add_argument("--prompts", type=int, default=512)
    parser.add_argument("--compared", type=int, default=192, help="held-out drawings")
    parser.add_argument("--short", type=int, default=256, help="short prompts")
    parser.add_argument("--seeds", type=int, default=32, help="of four ages each")
    parser.add_argument("--guidance-scale", type=float, default=7.5)
    options = parser.parse_args()
    work = Workspace(options.state, options.drawings, torch.device("cpu"))
    held_out = np.array(dataset.make_drawings(work)[: work.held_out])
    figures = measure(held_out, load_judge(device="cpu"), options)
    versions = f"torch {torch.__version__.split('+')[0]}, diffusers {diffusers.__version__}"
    written = card.text(
        figures, drawings=options.drawings - work.held_out, held_out=work.held_out,
        subjects=", ".join(VALUES["subject"]), scale=options.guidance_scale,
        machine=f"{platform.machine()}, {versions}", all_size=megabytes(MODELS_FOLDER),
    )  # fmt: skip
    path = MODELS_FOLDER / "tiny-portraits" / "README.md"
    path.write_text(written, encoding="utf-8")
    grid = make_image_grid(to_images(held_out[:16]), 4, 4)
    grid.quantize(256).save(MODELS_FOLDER.parent / "docs" / "drawings.png", optimize=True)
    print(written)


if __name__ == "__main__":
    main()
