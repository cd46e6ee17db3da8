"""Kill processes of a sweep at random while they work."""

import os
import random
import subprocess
import sys
import time
from pathlib import Path

import pandas
import psutil

ROOT = Path(__file__).parents[2]
QUIET = {"OMP_NUM_THREADS": "1", "CI": "true", "HF_HUB_OFFLINE": "1"}


def jobs_of(count):
    """Rows of a few steps, with two schedulers, some with a negative prompt."""
    prompts = [f"portrait photo of a {who}" for who in ("knight", "queen", "sailor", "old king")]
    schedulers = ["DDIMScheduler", "DPMSolverMultistepScheduler"]
    return [
        {"prompt": prompts[seed % 4], "seed": seed, "scheduler": schedulers[seed % 2]}
        | {"num_inference_steps": 4, "negative_prompt": "smiling" if seed % 3 else ""}
        for seed in range(count)
    ]


def run(command, variables):
    """Start a process; its output and errors come in one stream."""
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    return subprocess.Popen(command, cwd=ROOT, env=os.environ | QUIET | variables, **streams)


def images(folder):
    return sorted(path.name for path in folder.glob("*.png"))


def write_jobs(place, count):
    pandas.DataFrame(jobs_of(count)).to_csv(place / "jobs.csv", index=False)
    (place / "images").mkdir()
    return place / "jobs.csv", place / "images"


def kill_one_of_two(place, count, victim):
    """Start two processes without a launcher, kill one early, and let the other finish.

    Returns the folder, and how many images were there at the kill.
    """
    table, folder = write_jobs(place, count)
    command = [sys.executable, "-m", "labs.sweeps", table, folder, "--device", "cpu"]
    variables = {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"}
    processes = [run(command, variables | {"RANK": rank, "LOCAL_RANK": rank}) for rank in "01"]
    while len(images(folder)) <= count // 4 and processes[victim].poll() is None:
        time.sleep(0.005)
    there = len(images(folder))
    processes[victim].kill()
    for process in processes:
        text, _ = process.communicate()
    survivor = processes[1 - victim]
    assert survivor.returncode == 0, text
    return folder, there


def kill_under_launcher(place, count, kills):
    """Generate images with one command, whose launcher restarts the processes after each kill.

    Returns the folder, how many images were there at each kill, and what was printed.
    """
    chance, there = random.Random(0), []
    table, folder = write_jobs(place, count)
    launch = "-m accelerate.commands.launch --multi_gpu --num_processes 2 --rdzv_backend c10d"
    launch += f" --max_restarts {kills} -m labs.sweeps"
    process = run([sys.executable, *launch.split(), table, folder, "--device", "cpu"], {})
    for kill in range(1, kills + 1):
        while len(images(folder)) < kill * count // (kills + 1) and process.poll() is None:
            time.sleep(0.01)
        there.append(len(images(folder)))
        chance.choice(psutil.Process(process.pid).children()).kill()
    text, _ = process.communicate()
    assert process.returncode == 0, text
    return folder, there, text
