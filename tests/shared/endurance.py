"""Press the playground at random and watch its memory: python tests/shared/endurance.py."""

import random
import sys
import time
from statistics import median
from typing import NamedTuple
from unittest import mock

import psutil

from helpers import load_pipeline
from labs.playground import player, playground
from labs.playground.player import Playground

LONG = 60.0  # seconds, in which the pictures are finished


class Turn(NamedTuple):
    """What was seen from one click on Generate to the next."""

    memory: int  # in use after it, in bytes, without the results
    preview: float | None  # seconds from the click to the first preview, if one was shown
    stop: float | None  # seconds from the click on Stop until all was still, if it was drawing


def endure(play: Playground, generations: int, chance: random.Random) -> list[Turn]:
    """Generate with random settings, and stop at random moments.

    Raises:
        AssertionError: a control is stuck, or a result was lost.
    """
    buttons, finished, previews = play._view.buttons, [], []
    generate = player.generate

    def watched(pipeline, settings, on_step):
        images = generate(pipeline, settings, on_step)
        finished.append(settings[0])
        return images

    def note_preview(change):
        if "as it forms" in change["new"]:
            previews.append(time.perf_counter())

    play._view.parts["pictures"].observe(note_preview, "value")
    turns = []
    with mock.patch.object(player, "generate", watched):
        for _ in range(generations):
            kept = play.results
            set_controls(play, chance)
            if chance.random() < 0.2:
                buttons["generate"].click()  # the next one takes its place
            previews.clear()
            clicked = time.perf_counter()
            buttons["generate"].click()
            play.wait(chance.choice([chance.uniform(0, 1), LONG]))
            drawing, pressed = play.state.running, time.perf_counter()
            buttons["stop"].click()
            play.wait(LONG)
            stopped = time.perf_counter() - pressed if drawing else None
            assert not play.state.running and buttons["stop"].disabled, "a control is stuck"
            assert play.results[: len(kept)] == kept, "an earlier result was lost"
            assert [one.settings for one in play.results] == finished, "a result was lost"
            assert len(play._view.strip.children) == len(finished), "the strip lacks a result"
            preview = previews[0] - clicked if previews else None
            turns.append(Turn(memory_in_use() - kept_by(play), preview, stopped))
    return turns


def set_controls(play: Playground, chance: random.Random) -> None:
    controls = play._view.controls
    controls["prompt"].value = " ".join(chance.choices(["old", "knight", "queen", "red"], k=9))
    controls["scheduler"].value = chance.choice(controls["scheduler"].options)
    controls["num_inference_steps"].value = chance.randint(1, 20)
    controls["guidance_scale"].value = chance.uniform(0, 15)
    controls["seed"].value = str(chance.randrange(2**63))
    controls["num_images"].value = chance.randint(1, 2)
    controls["show_forming"].value = chance.random() < 0.8


def memory_in_use() -> int:
    """Return the resident memory of this process, in bytes."""
    return psutil.Process().memory_info().rss


def kept_by(play: Playground) -> int:
    """Return the bytes of the pictures that the strip keeps, which grow with every result."""
    thumbnails = (box.children[0].value for box in play._view.strip.children)
    return sum(len(one.png) for one in play.results) + sum(map(len, thumbnails))


def report(turns: list[Turn], play: Playground) -> None:
    """Print what was seen; the first fifth of the turns is the warm-up."""
    memory = [turn.memory for turn in turns]
    tenth = max(1, len(memory) // 10)
    settled, last = median(memory[2 * tenth : 3 * tenth] or memory), max(memory[-tenth:])
    previews = [turn.preview for turn in turns if turn.preview is not None]
    stops = [turn.stop for turn in turns if turn.stop is not None]
    print(f"{len(turns)} generations, {len(play.results)} pictures finished and kept, ", end="")
    print(f"in {kept_by(play) / 1e6:.1f} MB")
    print(f"the rest of the memory: {settled / 1e6:.0f} MB after the warm-up, ", end="")
    print(f"at most {last / 1e6:.0f} MB at the end, {last / settled - 1:+.1%}")
    for what, seconds in (("first preview", previews), ("stop", stops)):
        if seconds:
            print(f"{what}, {len(seconds)} times: ", end="")
            print(f"median {median(seconds):.2f} s, at most {max(seconds):.2f} s")


if __name__ == "__main__":
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 200
    play = playground(load_pipeline("tiny-portraits", device="cpu"))
    turns = endure(play, count, random.Random(0))
    report(turns, play)
