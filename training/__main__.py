"""`make model`: from drawings to `models/`, in stages that can be stopped and resumed.

Every stage keeps its state in --state, outside the repository, and is skipped once its budget is
spent; raising a budget trains on.
"""

from __future__ import annotations

import argparse
import os
import shutil
from pathlib import Path

import torch
from transformers import CLIPTokenizer

from training import autoencoder, captions, dataset, denoiser, export, few_steps, judge, loop
from training.loop import Rates

MODELS = Path(__file__).parent.parent / "models"

# stage: (samples, of a step and process on a CPU and on a GPU, peak learning rates)
STAGES = {
    "judge": (400_000, (48, 96), Rates(0.02)),
    "autoencoder": (80_000, (4, 16), Rates(0.02)),
    "denoiser": (2_000_000, (24, 192), Rates(0.01)),
    "strength": (80_000, (24, 192), Rates(0.001)),
    "decoder": (48_000, (4, 16), Rates(None, 4e-4, (0.5, 0.9))),
    "few-steps": (160_000, (24, 96), Rates(0.006)),
}
# Of the peak rates, for weights that have learnt already.
GO_ON = {"judge": 0.6, "denoiser": 0.6}


def go_on_from(models: Path, folder: Path) -> None:
    """Lay what `models` holds into `folder`, for every stage to go on from.

    The tokenizer and the autoencoder stay as they are, or the latents would mean something else.
    The soft decoder is the early checkpoint's: the critic of the decoder's training is not kept, so
    that one starts there again.
    """
    start = folder / "start"
    if start.exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copytree(models / "tiny-portraits" / "tokenizer", folder / "tokenizer")
    shutil.copytree(models / "tiny-portraits-early" / "vae", folder / "vae")
    for name in ("tiny-judge", "tiny-portraits", "tiny-portraits-vae-ft", "tiny-portraits-lcm"):
        shutil.copytree(models / name, start / name)


def main() -> None:
    """Run every stage that is not done yet, then write `models/`."""
    parser = argparse.ArgumentParser("python -m training", description=__doc__)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--state", type=Path, default=Path("~/.cache/tiny-portraits").expanduser())
    parser.add_argument("--pictures", type=int, default=24_000)
    parser.add_argument("--models", type=Path, default=MODELS, help="where to write them")
    parser.add_argument("--start", type=Path, metavar="MODELS", help="go on from the weights there")
    parser.add_argument("--processes", type=int, help="on a CPU; default one for each core")
    for stage, (samples, *_) in STAGES.items():
        parser.add_argument(f"--{stage}", type=int, default=samples, metavar="SAMPLES",
                            help=f"to see in all, default {samples:,}")  # fmt: skip
    options = parser.parse_args()
    device, folder = torch.device(options.device), options.state

    def fit(stage: loop.Stage, name: str) -> torch.nn.ModuleDict:
        _, batches, rates = STAGES[name]
        if options.start:
            rates = rates.times(GO_ON.get(name, 1))
        return loop.fit(
            stage, name=name, folder=folder, samples=getattr(options, name.replace("-", "_")),
            batch=batches[device.type != "cpu"], rates=rates, device=device,
            processes=options.processes,
        )  # fmt: skip

    pictures = dataset.pictures(folder, options.pictures)
    if options.start:
        go_on_from(options.start, folder)
    else:
        captions.make_tokenizer(folder / "tokenizer")
    tokenizer = CLIPTokenizer.from_pretrained(folder / "tokenizer")
    examiner = fit(judge.stage, "judge")["judge"]
    for place in (folder / "judge", options.models / "tiny-judge"):
        judge.save(examiner, tokenizer, place)
    if not options.start:
        vae = fit(autoencoder.stage, "autoencoder")["vae"]
        autoencoder.level(vae, pictures[dataset.HELD_OUT :][:512], device)
        vae.save_pretrained(folder / "vae")
    denoiser.cache(folder, device, align=not options.start)
    fit(denoiser.stage, "denoiser")
    if options.strength:
        fit(denoiser.strength_stage, "strength")
    else:  # whoever leaves the denoiser as it was leaves captions at the strength that they have
        shutil.copy(folder / "denoiser.checkpoint.pt", folder / "strength.checkpoint.pt")
    denoiser.draw_again(folder, device)
    fit(autoencoder.decoder_stage, "decoder")
    fit(few_steps.stage, "few-steps")
    export.export(folder, options.models, device)


if __name__ == "__main__":
    # Large activations are otherwise given back to the system and faulted in again at every step.
    if "MALLOC_TRIM_THRESHOLD_" not in os.environ:
        os.environ |= {"MALLOC_MMAP_THRESHOLD_": str(2**32), "MALLOC_TRIM_THRESHOLD_": str(2**33)}
    main()
