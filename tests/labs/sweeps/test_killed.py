"""Processes that share a sweep and are killed: nothing is lost or broken, the others take over."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pandas
from PIL import Image

from helpers import image_distance
from labs.images.generate import generate
from labs.sweeps.jobs import describe_jobs, is_complete

ROOT = Path(__file__).parents[3]
COUNT = 32
SCHEDULERS = ["DDIMScheduler", "DPMSolverMultistepScheduler"]
JOBS = [
    {"prompt": f"portrait photo of a {who}", "seed": seed, "scheduler": SCHEDULERS[seed % 2]}
    | {"num_inference_steps": 4, "negative_prompt": "smiling" if seed % 3 else ""}
    for seed, who in enumerate(["knight", "queen", "sailor", "old king"] * (COUNT // 4))
]


def start(folder, rank):
    """Start one of two processes of a sweep into a folder; all that it says is its output."""
    environment = os.environ | {"OMP_NUM_THREADS": "1", "CI": "true", "HF_HUB_OFFLINE": "1"}
    environment |= {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"}
    command = [sys.executable, "-m", "labs.sweeps", folder / "jobs.csv", folder, "--device", "cpu"]
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    return subprocess.Popen(command, cwd=ROOT, env=environment, **options)


def images(folder):
    return sorted(path.name for path in folder.glob("*.png"))


def wait_for_some(folder, process):
    while len(images(folder)) < COUNT // 4 and process.poll() is None:
        time.sleep(0.005)
    assert 0 < len(images(folder)) < COUNT


def test_after_a_kill_the_other_process_generates_all_that_is_missing(tmp_path, pipeline):
    pandas.DataFrame(JOBS).to_csv(tmp_path / "jobs.csv", index=False)
    survivor, victim = (start(tmp_path, rank) for rank in "01")
    wait_for_some(tmp_path, victim)
    victim.kill()
    victim.communicate()
    text, _ = survivor.communicate()
    assert survivor.returncode == 0, text
    wanted, _ = describe_jobs(JOBS, pipeline)
    assert images(tmp_path) == sorted(wanted)
    assert (tmp_path / "table.csv").is_file()
    for name, settings in list(wanted.items())[::7]:
        assert is_complete(tmp_path / name)
        (alone,) = generate(pipeline, [settings])
        assert image_distance(Image.open(tmp_path / name), alone) < 2
