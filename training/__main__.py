"""`make model`: from drawings to `models/`, in stages that can be stopped and resumed.

Every stage keeps its state in --state, outside the repository, and is skipped once it has seen its
samples; raising their number trains on. 0 leaves a stage out, where its weights exist already.
"""

from __future__ import annotations

import argparse
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch
from safetensors.torch import save_file
from transformers import CLIPTokenizer

from training import (
    autoencoder,
    captions,
    dataset,
    decoder,
    denoiser,
    export,
    few_steps,
    judge,
    latents,
    loop,
    strength,
    style,
)
from training.loop import Plan
from training.workspace import HELD_OUT, Workspace

MODELS = Path(__file__).parent.parent / "models"

STAGES = {
    "guide": Plan(400_000, 96, 0.02),
    "judge": Plan(400_000, 96, 0.02),
    "autoencoder": Plan(80_000, 8, 0.02),
    "early": Plan(70_000, 32, 0.01),
    "denoiser": Plan(2_000_000, 64, 0.01),
    "strength": Plan(300_000, 64, 0.002),
    "decoder": Plan(48_000, 8, None, 4e-4, (0.5, 0.9)),
    "few-steps": Plan(160_000, 48, 0.006),
    "style": Plan(30_000, 64, 0.001),
}
# Left out only where weights of the stage exist already.
NEEDED = ("autoencoder", "early", "denoiser", "strength", "decoder", "few-steps")
# What a stage has learnt from, so that it should follow a change.
NEEDS = {
    "early": ("guide", "autoencoder"),
    "denoiser": ("guide", "autoencoder"),
    "strength": ("early", "denoiser"),
    "decoder": ("guide", "autoencoder", "strength"),
    "few-steps": ("denoiser", "strength"),
    "style": ("autoencoder", "strength"),
}
# Further samples and the share of the peak rates for weights that have learnt already.
CONTINUED = {"denoiser": (400_000, 0.4), "strength": (150_000, 1.0), "few-steps": (60_000, 0.8)}


def start_from(path: Path, work: Workspace, models: Path) -> None:
    """Copy into the workspace what the training goes on from: a folder such as `models`, or
    "denoiser.safetensors" from the state of a training with the rest from `models`.

    The tokenizer and the autoencoder stay as they are, or the latents would mean something else.
    Its own decoder is the early checkpoint's, since `decoder` starts from the further-trained one.
    """
    source = str(path.resolve())
    if work.start.exists():
        if (work.start / "source.txt").read_text(encoding="utf-8") != source:
            raise SystemExit(f"{work.folder} goes on from other weights: choose another --state.")
        return
    if loop.checkpoint(work, "denoiser").exists():
        raise SystemExit(f"{work.folder} was trained from nothing: choose another --state.")
    weights, models = (path, models) if path.is_file() else (None, path)
    copy = work.folder / "start.part"
    shutil.rmtree(copy, ignore_errors=True)
    for name in ("", "-early", "-vae-ft", "-lcm"):
        shutil.copytree(models / f"tiny-portraits{name}", copy / f"tiny-portraits{name}")
    if weights:
        shutil.copy(weights, copy / "denoiser.safetensors")
    for name, model in (("tokenizer", "tiny-portraits"), ("vae", "tiny-portraits-early")):
        shutil.copytree(models / model / name, work.folder / name, dirs_exist_ok=True)
    (copy / "source.txt").write_text(source, encoding="utf-8")
    copy.rename(work.start)


def folder(text: str) -> Path:
    """A path that may begin with a tilde."""
    return Path(text).expanduser()


def parse_arguments() -> argparse.Namespace:
    """The command line of `python -m training`."""
    parser = argparse.ArgumentParser("python -m training", description=__doc__)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--state", type=folder, default=folder("~/.cache/tiny-portraits"))
    parser.add_argument("--drawings", type=int, default=24_000)
    parser.add_argument("--models", type=folder, default=MODELS, help="where to write them")
    parser.add_argument("--start", type=folder, help="go on from models/ or a denoiser.safetensors")
    parser.add_argument("--guide", type=folder, metavar="FOLDER", help="use this trained guide")
    parser.add_argument("--style-name", choices=style.STYLES, default="neon")
    parser.add_argument("--processes", type=int, help="on a CPU; default one for each core")
    for stage, plan in STAGES.items():
        further = f", {CONTINUED[stage][0]:,} with --start" if stage in CONTINUED else ""
        parser.add_argument(f"--{stage}-samples", type=int, metavar="N",
                            help=f"to see in all, default {plan.samples:,}{further}")  # fmt: skip
    options = parser.parse_args()
    for option in ("start", "guide"):
        if (path := vars(options)[option]) and not path.exists():
            parser.error(f"--{option} {path} does not exist.")
    judges = {(models / "tiny-judge").resolve() for models in (MODELS, options.models)}
    if options.guide and options.guide.resolve() in judges:
        parser.error("--guide cannot be the judge, which must take no part in the training.")
    if options.drawings < (least := HELD_OUT + latents.PROFILES):
        parser.error(f"--drawings must be at least {least:,}: the first {HELD_OUT:,} are held out.")
    for stage in ("guide", *NEEDED):
        option = "guide" if stage == "guide" else "start"
        trained = options.state / ("guide" if stage == "guide" else f"{stage}.checkpoint.pt")
        left_out = vars(options)[f"{stage.replace('-', '_')}_samples"] == 0
        if left_out and not vars(options)[option] and not trained.exists():
            parser.error(f"--{stage}-samples 0 needs --{option}: there are no weights yet.")
    return options


def plan_of(name: str, options: argparse.Namespace) -> Plan:
    """The plan of a stage, as --start and the command line change it."""
    plan = STAGES[name]
    if options.start and name in CONTINUED:
        samples, share = CONTINUED[name]
        plan = replace(plan, samples=samples).slower(share)
    samples = getattr(options, f"{name.replace('-', '_')}_samples")
    return plan if samples is None else replace(plan, samples=samples)


def prepare_guide(work: Workspace, fit: Callable[..., bool], tokenizer: CLIPTokenizer,
                  given: Path | None) -> None:  # fmt: skip
    """Train the guide, or take the `given` one."""
    if given:
        shutil.copytree(given, work.folder / "guide", dirs_exist_ok=True)
    elif fit(judge.stage, "guide"):
        model = loop.load(judge.stage, "guide", work)["judge"]
        judge.save(model, tokenizer, work.folder / "guide")


def make_autoencoder(work: Workspace, fit: Callable[..., bool]) -> None:
    """Train the autoencoder and, after any training, whiten its latents."""
    fit(autoencoder.stage, "autoencoder")
    trained, saved = loop.checkpoint(work, "autoencoder"), latents.vae_weights(work)
    if not saved.exists() or saved.stat().st_mtime < trained.stat().st_mtime:
        vae = loop.load(autoencoder.stage, "autoencoder", work)["vae"]
        held_out = dataset.read_drawings(work)[: min(512, work.held_out)]
        autoencoder.whiten_latents(vae, held_out, work.device)
        vae.save_pretrained(work.folder / "vae")


def save_denoiser(work: Workspace) -> None:
    """Write the denoiser before the strength stage, for `--start` to go on from."""
    modules = loop.load(denoiser.stage, "denoiser", work)
    parts = torch.nn.ModuleDict({name: modules[name] for name in ("unet", "text_encoder")})
    save_file(parts.state_dict(), work.folder / "denoiser.safetensors")


def main() -> None:
    """Run every stage that is not done yet, then write `models/`."""
    options = parse_arguments()
    work = Workspace(options.state, options.drawings, torch.device(options.device))
    if work.start.exists() and not options.start:
        raise SystemExit(f"{work.folder} began with --start: repeat it, or choose another --state.")
    trained: list[str] = []  # what this call has trained on

    def fit(stage: loop.Stage, name: str, seed: int = 0, label: str | None = None) -> bool:
        """Train a stage, unless it is left out with 0 samples; return whether it is not."""
        if (plan := plan_of(name, options)).samples:
            spent = loop.is_spent(work, label or name, plan)
            changed = [other for other in NEEDS.get(name, ()) if other in trained]
            if spent and changed:
                print(f"{name} stays as it is, though {changed[-1]} has changed: "
                      f"raise --{name}-samples to train it on.")  # fmt: skip
            loop.fit(stage, label or name, work, plan, processes=options.processes, seed=seed)
            if not spent:
                trained.append(name)
        return bool(plan.samples)

    if options.start:
        start_from(options.start, work, options.models)
    elif options.guide:  # whose text encoder starts the denoiser's
        CLIPTokenizer.from_pretrained(options.guide).save_pretrained(work.folder / "tokenizer")
    elif not (work.folder / "tokenizer").exists():
        captions.make_tokenizer(work.folder / "tokenizer")
    dataset.make_drawings(work)
    tokenizer = CLIPTokenizer.from_pretrained(work.folder / "tokenizer")
    if fit(judge.stage, "judge", seed=1):
        model = loop.load(judge.stage, "judge", work)["judge"]
        judge.save(model, tokenizer, options.models / "tiny-judge")
    prepare_guide(work, fit, tokenizer, options.guide)
    if not options.start:
        make_autoencoder(work, fit)
    latents.make_latents(work)
    if not options.start:
        latents.make_features(work)
        fit(denoiser.early_stage, "early")
        export.export_early(work, options.models)
    fit(denoiser.stage, "denoiser")
    save_denoiser(work)
    fit(strength.stage, "strength")
    strength.partially_redraw(work)
    fit(decoder.stage, "decoder")
    fit(few_steps.stage, "few-steps")
    export.export(work, options.models)
    stage, label = partial(style.stage, style=options.style_name), f"style-{options.style_name}"
    if plan_of("style", options).samples:
        style.make_styled(work, options.style_name)
        fit(stage, "style", label=label)
        folder = options.models / f"tiny-portraits-{options.style_name.replace(' ', '-')}"
        export.export_style(work, loop.load(stage, label, work), folder)


if __name__ == "__main__":
    # Large activations are otherwise given back to the system and faulted in again at every step.
    if "MALLOC_TRIM_THRESHOLD_" not in os.environ:
        os.environ |= {"MALLOC_MMAP_THRESHOLD_": str(2**32), "MALLOC_TRIM_THRESHOLD_": str(2**33)}
    main()
