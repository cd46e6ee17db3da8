"""`make model`: from drawings to `models/`, in stages that can be stopped and resumed.

Every stage keeps its state in --state, outside the repository, and is skipped once its budget is
spent; raising a budget trains on.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import torch

from training import autoencoder, captions, dataset, denoiser, export, few_steps, judge, loop
from training.loop import Rates

# stage: (samples, of a step and process on a CPU and on a GPU, peak learning rates)
STAGES = {
    "judge": (400_000, (48, 96), Rates(0.02)),
    "autoencoder": (80_000, (4, 16), Rates(0.02)),
    "denoiser": (2_000_000, (24, 192), Rates(0.01)),
    "decoder": (48_000, (4, 16), Rates(None, 4e-4, (0.5, 0.9))),
    "few-steps": (160_000, (24, 96), Rates(0.006)),
}


def main() -> None:
    """Run every stage that is not done yet, then write `models/`."""
    parser = argparse.ArgumentParser("python -m training", description=__doc__)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--state", type=Path, default=Path("~/.cache/tiny-portraits").expanduser())
    parser.add_argument("--pictures", type=int, default=24_000)
    parser.add_argument("--models", type=Path, default=Path(__file__).parent.parent / "models")
    parser.add_argument("--processes", type=int, help="on a CPU; default one for each core")
    for stage, (samples, *_) in STAGES.items():
        parser.add_argument(f"--{stage}", type=int, default=samples, metavar="SAMPLES",
                            help=f"to see in all, default {samples:,}")  # fmt: skip
    options = parser.parse_args()
    device, folder = torch.device(options.device), options.state

    def fit(stage: loop.Stage, name: str) -> torch.nn.ModuleDict:
        _, batches, rates = STAGES[name]
        return loop.fit(
            stage, name=name, folder=folder, samples=getattr(options, name.replace("-", "_")),
            batch=batches[device.type != "cpu"], rates=rates, device=device,
            processes=options.processes,
        )  # fmt: skip

    pictures = dataset.pictures(folder, options.pictures)
    tokenizer = captions.make_tokenizer(folder / "tokenizer")
    examiner = fit(judge.stage, "judge")["judge"]
    for place in (folder / "judge", options.models / "tiny-judge"):
        judge.save(examiner, tokenizer, place)
    vae = fit(autoencoder.stage, "autoencoder")["vae"]
    autoencoder.level(vae, pictures[dataset.HELD_OUT :][:512], device)
    vae.save_pretrained(folder / "vae")
    denoiser.cache_latents(folder, device)
    fit(denoiser.stage, "denoiser")
    fit(autoencoder.decoder_stage, "decoder")
    fit(few_steps.stage, "few-steps")
    export.export(folder, options.models, device)


if __name__ == "__main__":
    # Large activations are otherwise given back to the system and faulted in again at every step.
    if "MALLOC_TRIM_THRESHOLD_" not in os.environ:
        os.environ |= {"MALLOC_MMAP_THRESHOLD_": str(2**32), "MALLOC_TRIM_THRESHOLD_": str(2**33)}
    main()
