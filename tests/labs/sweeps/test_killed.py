"""Processes that share a sweep, and are killed: nothing is lost, drawn twice or broken."""

from killing import jobs_of, kill_and_finish, kill_under_launcher, pictures
from PIL import Image

from helpers import image_distance
from labs.images.drawing import draw
from labs.sweeps.jobs import describe_jobs, is_whole

COUNT = 32


def test_after_a_kill_the_set_is_whole_and_each_as_one_process_draws_it(tmp_path, pipeline):
    folder, (victim, alive, texts) = kill_and_finish(tmp_path, COUNT)
    wanted, _ = describe_jobs(jobs_of(COUNT), pipeline)
    assert pictures(folder) == sorted(wanted)
    assert not list(folder.glob(".*"))
    for name, settings in list(wanted.items())[::5]:
        assert is_whole(folder / name)
        alone = draw(pipeline, settings, lambda *_: True)
        assert image_distance(Image.open(folder / name), alone) < 2
    assert alive
    if victim == 1:  # the first process says that the other is silent
        assert "Process 1 has drawn" in texts[0] and "run the same again" in texts[0]


def test_a_launcher_starts_again_what_was_killed(tmp_path):
    folder, there, text = kill_under_launcher(tmp_path, COUNT, kills=1)
    assert len(pictures(folder)) == COUNT > there[0] > 0
    assert "exitcode: -9" in text
