"""Press the playground's buttons at random, and watch its memory: python tests/endurance.py."""

import random
import resource
import sys
from pathlib import Path

from helpers import load_pipeline, playground
from helpers.widgets import Playground

PAUSES = [0.05, 0.3, 1.0, 60.0]  # seconds until Stop; the last lets the pictures be finished


def endure(play: Playground, generations: int, chance: random.Random) -> list[int]:
    """Generate with random settings, and stop at random moments.

    Returns:
        The memory in use after each generation, in bytes; 0 where the system does not tell.

    Raises:
        AssertionError: a control is stuck, or a result was lost.
    """
    controls, buttons = play._view.controls, play._view.buttons
    memory, finished = [], 0
    for _ in range(generations):
        controls["prompt"].value = " ".join(chance.choices(["old", "knight", "queen", "red"], k=9))
        controls["scheduler"].value = chance.choice(controls["scheduler"].options)
        controls["num_inference_steps"].value = chance.randint(1, 12)
        controls["guidance_scale"].value = chance.uniform(0, 15)
        controls["seed"].value = str(chance.randrange(2**63))
        controls["num_images"].value = chance.randint(1, 2)
        controls["show_forming"].value = chance.random() < 0.8
        buttons["generate"].click()
        if chance.random() < 0.2:
            buttons["generate"].click()  # a second one takes its place
        play.wait(chance.choice(PAUSES))
        buttons["stop"].click()
        play.wait(60)
        assert not play.state.running and buttons["stop"].disabled, "a control is stuck"
        assert len(play.results) >= finished, "a result was lost"
        finished = len(play.results)
        assert len(play._view.strip.children) == finished, "a result is not in the strip"
        memory.append(memory_in_use())
    return memory


def memory_in_use() -> int:
    """Return the resident memory of this process, in bytes."""
    status = Path("/proc/self/statm")
    if not status.exists():
        return 0
    return int(status.read_text().split()[1]) * resource.getpagesize()


if __name__ == "__main__":
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 200
    play = playground(load_pipeline("tiny-portraits", device="cpu"))
    memory = endure(play, count, random.Random(0))
    settled, last = memory[count // 5], max(memory[-count // 10 :])
    print(f"{count} generations, {len(play.results)} pictures finished and kept")
    print(f"after warm-up {settled / 1e6:.0f} MB, at the end {last / 1e6:.0f} MB, ", end="")
    print(f"{last / settled - 1:+.1%}")
