"""Processes that share a sweep and are killed: nothing is lost or broken, the others take over."""

import sys

import pytest
from killing import images, jobs_of, kill_one_of_two, kill_under_launcher
from PIL import Image

from helpers import image_distance
from labs.images.generate import generate
from labs.sweeps.jobs import describe_jobs, is_complete

COUNT = 32


def test_after_a_kill_the_other_process_generates_all_that_is_missing(tmp_path, pipeline):
    folder, there = kill_one_of_two(tmp_path, COUNT, victim=1)
    assert there < COUNT
    wanted, _ = describe_jobs(jobs_of(COUNT), pipeline)
    assert images(folder) == sorted(wanted)
    assert (folder / "table.csv").is_file()
    for name, settings in list(wanted.items())[::7]:
        assert is_complete(folder / name)
        (alone,) = generate(pipeline, [settings])
        assert image_distance(Image.open(folder / name), alone) < 2


@pytest.mark.skipif(sys.platform == "win32", reason="a kill has another exit code there")
def test_a_launcher_starts_again_what_was_killed(tmp_path):
    folder, there, text = kill_under_launcher(tmp_path, COUNT, kills=1)
    assert len(images(folder)) == COUNT > there[0] > 0
    assert "exitcode: -9" in text
