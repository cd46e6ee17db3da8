"""The page in any browser: its arithmetic against PyTorch's, its files, its images."""

import json
import os
import shutil
import socket
import subprocess
import warnings
from pathlib import Path

import diffusers
import numpy as np
import pytest
import torch
from transformers import CLIPTokenizer

from tools import page
from training import captions, dataset

ROOT = Path(__file__).parents[2]
TOKENIZER = ROOT / "models" / "tiny-portraits" / "tokenizer"
ODD_PROMPTS = [
    "", "   ", "🙂 a knight 🏰🏰", "一个骑士 портрет", "É café naïve ﬁ ß", "it's the queen's",
    "a\tb\nc  d", "x" * 10_000, "old " * 200, "--ar 2:3 <|endoftext|> hi", "1234 5.6 a_b!!??",
]  # fmt: skip
SEEDS = [0, 1, 2**31, 2**32 - 1, 2**32, 2**53, 2**64 - 1, *range(100, 193)]


def noise(seed, size=3072):
    return torch.randn(size, generator=torch.Generator().manual_seed(seed))


def steps_of(kind, count):
    """Latents after every step of a scheduler, with a formula in place of the U-Net."""
    stock = diffusers.PNDMScheduler.from_pretrained(ROOT / "models/tiny-portraits/scheduler")
    scheduler = kind.from_config(stock.config)
    scheduler.set_timesteps(count)
    latents, generator = noise(3), torch.Generator().manual_seed(9)
    options = {"generator": generator} if kind is diffusers.LCMScheduler else {}
    for t in scheduler.timesteps:
        guess = torch.tanh(latents / 2) + float(t) / 1e6
        latents = scheduler.step(guess, t, latents, **options).prev_sample
    timesteps = [int(t) for t in scheduler.timesteps]
    return {"timesteps": timesteps, "last": latents[:20].tolist()}


@pytest.fixture(scope="module")
def references(tmp_path_factory):
    tokenizer = CLIPTokenizer.from_pretrained(TOKENIZER)
    rng = np.random.default_rng(0)
    padded = {"padding": "max_length", "truncation": True}
    prompts = [captions.caption(dataset.spec_of(number), rng) for number in range(500)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        schedulers = {
            kind.__name__: {count: steps_of(kind, count) for count in counts}
            for kind, counts in (
                (diffusers.DPMSolverMultistepScheduler, (1, 5, 10, 20, 30, 50)),
                (diffusers.DDIMScheduler, (1, 5, 10, 20, 50)),
                (diffusers.LCMScheduler, (1, 2, 4, 8)),
            )
        }
    values = {
        "randn": [{"seed": str(seed), "values": noise(seed).tolist()} for seed in SEEDS],
        "randn_odd": {"seed": 5, "values": noise(5, 1003).tolist()},
        "schedulers": schedulers,
        "tokenizer": json.loads((TOKENIZER / "tokenizer.json").read_text(encoding="utf-8")),
        "tokens": [
            {"prompt": prompt, "ids": tokenizer(prompt, **padded).input_ids}
            for prompt in prompts + ODD_PROMPTS
        ],
    }  # fmt: skip
    path = tmp_path_factory.mktemp("references") / "references.json"
    path.write_text(json.dumps(values), encoding="utf-8")
    return path


@pytest.mark.skipif(not shutil.which("node"), reason="Node.js is not installed")
def test_the_pages_modules_pass_their_own_tests(references):
    command = ["node", "--test", *map(str, sorted(ROOT.glob("web/tests/*.test.js")))]
    result = subprocess.run(
        command, cwd=ROOT, env=os.environ | {"REFERENCES": str(references)},
        capture_output=True, text=True,
    )  # fmt: skip
    assert result.returncode == 0, result.stdout


def test_a_port_that_is_taken_gets_a_sentence():
    with socket.create_server(("localhost", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(SystemExit, match=f"localhost:{port} cannot be used .*another --port"):
            page.serve_page("localhost", port)
