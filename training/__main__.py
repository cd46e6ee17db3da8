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

# stage: (minutes on two CPU cores, minutes on a GPU, Muon's peak learning rate)
STAGES = {
    "judge": (40, 4, 0.02),
    "autoencoder": (60, 6, 0.02),
    "denoiser": (180, 12, 0.01),
    "decoder": (30, 4, 0.003),
    "few-steps": (100, 8, 0.006),
}


def main() -> None:
    """Run every stage that is not done yet, then write `models/`."""
    parser = argparse.ArgumentParser("python -m training", description=__doc__)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--state", type=Path, default=Path("~/.cache/tiny-portraits").expanduser())
    parser.add_argument("--pictures", type=int, default=14_000)
    parser.add_argument("--models", type=Path, default=Path(__file__).parent.parent / "models")
    for stage, (cpu, gpu, _) in STAGES.items():
        parser.add_argument(f"--{stage}", type=float, metavar="MINUTES",
                            help=f"default {cpu} on a CPU, {gpu} on a GPU")  # fmt: skip
    options = parser.parse_args()
    device, folder = torch.device(options.device), options.state

    def fit(stage: loop.Stage, name: str) -> torch.nn.ModuleDict:
        cpu, gpu, peak = STAGES[name]
        minutes = getattr(options, name.replace("-", "_")) or (cpu if device.type == "cpu" else gpu)
        return loop.fit(stage, name=name, folder=folder, seconds=60 * minutes, peak=peak,
                        device=device)  # fmt: skip

    pictures = dataset.pictures(folder, options.pictures)
    tokenizer = captions.make_tokenizer(folder / "tokenizer")
    examiner = fit(judge.stage, "judge")["judge"]
    judge.save(examiner, tokenizer, options.models / "tiny-judge")
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
