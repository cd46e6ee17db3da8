"""Kill processes of a sweep at random while they draw: python tests/shared/killing.py 1000 10."""

import os
import random
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pandas
import psutil

from labs.sweeps import sweep

ROOT = Path(__file__).parents[2]
QUIET = {"OMP_NUM_THREADS": "1", "CI": "true", "HF_HUB_OFFLINE": "1"}


def jobs_of(count):
    """Rows of a few steps, in two sizes of batch and with two schedulers."""
    prompts = [f"portrait photo of a {one}" for one in ("knight", "queen", "sailor", "old king")]
    schedulers = ["DDIMScheduler", "DPMSolverMultistepScheduler"]
    return [
        {"prompt": prompts[seed % 4], "seed": seed, "scheduler": schedulers[seed % 2]}
        | {"num_inference_steps": 4, "negative_prompt": "smiling" if seed % 3 else ""}
        for seed in range(count)
    ]


def start(table, folder):
    """Start two processes of one thread as a batch system does, without a launcher over them."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "labs.sweeps", str(table), folder, "--device", "cpu"]
    command += ["--patience", "3"]
    group = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    group |= {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"} | QUIET
    return [run(command, group | {"RANK": rank, "LOCAL_RANK": rank}) for rank in "01"]


def run(command, variables):
    """Start a process; what it prints and complains of comes in one stream."""
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    return subprocess.Popen(command, cwd=ROOT, env=os.environ | variables, **streams)


def pictures(folder):
    return sorted(path.name for path in folder.glob("*.png"))


def kill_while_it_draws(table, folder, chance, count):
    """Run a sweep, and kill one of its processes early: the other goes on to the end of its share.

    Returns the number of the process, whether it was alive, and what each of them said.
    """
    processes = start(table, folder)
    while len(pictures(folder)) <= count // 4 and all(one.poll() is None for one in processes):
        time.sleep(0.005)
    victim = chance.randrange(2)
    alive = processes[victim].poll() is None
    processes[victim].kill()
    return victim, alive, [one.communicate()[0] for one in processes]


def write_jobs(folder, count):
    path = folder / "jobs.csv"
    pandas.DataFrame(jobs_of(count)).to_csv(path, index=False)
    (folder / "pictures").mkdir()
    return path, folder / "pictures"


def kill_and_finish(place, count):
    """Draw pictures in two processes of which one is killed, and the rest in this process.

    Returns the folder, and the one killed, whether it was alive, and what each of them said.
    """
    table, drawn = write_jobs(place, count)
    seen = kill_while_it_draws(table, drawn, random.Random(0), count)
    sweep(table, drawn, device="cpu")
    return drawn, seen


def kill_under_launcher(place, count, kills):
    """Draw pictures with one command, whose launcher starts the processes again after each kill.

    Returns the folder, how many were there at each kill, and what was said.
    """
    chance, there = random.Random(0), []
    table, drawn = write_jobs(place, count)
    launch = "-m accelerate.commands.launch --multi_gpu --num_processes 2 --rdzv_backend c10d"
    launch += f" --max_restarts {kills} -m labs.sweeps"
    process = run([sys.executable, *launch.split(), table, drawn, "--device", "cpu"], QUIET)
    for kill in range(1, kills + 1):
        while len(pictures(drawn)) < kill * count // (kills + 1) and process.poll() is None:
            time.sleep(0.01)
        there.append(len(pictures(drawn)))
        chance.choice(psutil.Process(process.pid).children()).kill()
    text, _ = process.communicate()
    assert process.returncode == 0, text
    return drawn, there, text


if __name__ == "__main__":
    from PIL import Image

    from helpers import image_distance

    place, begin = Path(tempfile.mkdtemp()), time.monotonic()
    count, kills = map(int, sys.argv[1:])
    folder, there, text = kill_under_launcher(place, count, kills)
    print(f"killed with {there} of {count} there; {len(pictures(folder))} in the end")
    print(f"{text.count('exitcode: -9')} deaths said; {time.monotonic() - begin:.0f} s")
    begin, alone = time.monotonic(), place / "alone"
    sweep(jobs_of(count), alone, device="cpu", batch_size=1)
    print(f"one process, one at a time: {time.monotonic() - begin:.0f} s")
    assert pictures(folder) == pictures(alone)
    pairs = [[Image.open(where / name) for where in (folder, alone)] for name in pictures(alone)]
    print(f"furthest apart: {max(image_distance(*pair) for pair in pairs):.2f} of 255")
    print("left over:", [path.name for path in folder.iterdir() if path.suffix == ".part"])
