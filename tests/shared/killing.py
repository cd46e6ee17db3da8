"""Kill processes of a sweep at random while they draw: python tests/shared/killing.py 1000 10."""

import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pandas

from helpers import sweep

ROOT = Path(__file__).parents[2]


def jobs_of(count):
    """Rows of a few steps, in two sizes of batch and with two schedulers."""
    prompts = [f"portrait photo of a {one}" for one in ("knight", "queen", "sailor", "old king")]
    schedulers = ["DDIMScheduler", "DPMSolverMultistepScheduler"]
    return [
        {"prompt": prompts[seed % 4], "seed": seed, "scheduler": schedulers[seed % 2]}
        | {"num_inference_steps": 4, "negative_prompt": "smiling" if seed % 3 else ""}
        for seed in range(count)
    ]


def start(table, folder, patience):
    """Start two processes of one thread as a batch system does, without a launcher over them."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "helpers.sweeps", table, folder, "--device", "cpu"]
    together = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "WORLD_SIZE": 2}
    together |= {"LOCAL_WORLD_SIZE": 2, "OMP_NUM_THREADS": 1, "CI": "true", "HF_HUB_OFFLINE": 1}
    return [
        subprocess.Popen(
            [*map(str, command), "--patience", str(patience)],
            cwd=ROOT,
            env=os.environ | {k: str(v) for k, v in (together | {"RANK": n, "LOCAL_RANK": n}).items()},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for n in range(2)
    ]  # fmt: skip


def pictures(folder):
    return sorted(path.name for path in folder.glob("*.png"))


def kill_while_it_draws(table, folder, chance, missing):
    """Run a sweep, and kill one of its processes early: the other goes on to the end of its share.

    Returns the number of the process, whether it was alive, and what each of them said.
    """
    enough = len(pictures(folder)) + missing // 4
    processes = start(table, folder, patience=3)
    while len(pictures(folder)) <= enough and all(one.poll() is None for one in processes):
        time.sleep(0.005)
    victim = chance.randrange(2)
    alive = processes[victim].poll() is None
    processes[victim].send_signal(signal.SIGKILL)
    return victim, alive, [one.communicate()[0] for one in processes]


def kill_and_finish(folder, count, kills):
    """Draw `count` pictures with that many kills on the way; returns what was said each time."""
    chance, said = random.Random(0), []
    table = folder / "jobs.csv"
    pandas.DataFrame(jobs_of(count)).to_csv(table, index=False)
    drawn = folder / "pictures"
    drawn.mkdir()
    for _ in range(kills):
        missing = count - len(pictures(drawn))
        said.append(kill_while_it_draws(table, drawn, chance, missing))
    processes = start(table, drawn, patience=60)
    said.append((None, None, [one.communicate()[0] for one in processes]))
    assert [one.returncode for one in processes] == [0, 0], said[-1]
    return drawn, said


if __name__ == "__main__":
    from helpers import image_distance
    from PIL import Image

    place, begin = Path(tempfile.mkdtemp()), time.monotonic()
    count, kills = map(int, sys.argv[1:])
    folder, said = kill_and_finish(place, count, kills)
    for victim, alive, texts in said:
        print(f"killed {victim} (alive: {alive}):", *(text.strip().splitlines()[-2:] for text in texts))
    print(f"{len(pictures(folder))} pictures in {time.monotonic() - begin:.0f} s")
    begin, alone = time.monotonic(), place / "alone"
    sweep(jobs_of(count), alone, device="cpu", batch_size=1)
    print(f"one process, one at a time: {time.monotonic() - begin:.0f} s")
    assert pictures(folder) == pictures(alone)
    pairs = [[Image.open(where / name) for where in (folder, alone)] for name in pictures(alone)]
    print(f"furthest apart: {max(image_distance(*pair) for pair in pairs):.2f} of 255")
    print("left over:", [path.name for path in folder.iterdir() if path.suffix == ".part"])
