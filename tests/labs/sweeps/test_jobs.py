"""What a sweep's jobs may be, what they are completed to, and which are refused."""

import json

import numpy as np
import pandas
import pytest
from PIL import Image

from labs.images import Settings
from labs.sweeps.jobs import describe_jobs, is_whole, name_of, read_jobs

ROWS = [
    {"prompt": "a knight", "seed": 7, "guidance_scale": 3.0},
    {"prompt": "NA", "negative_prompt": "smiling", "scheduler": "DDIMScheduler"},
    {"prompt": "12", "seed": 0, "height": 64},
]


@pytest.fixture(params=["list", "generator", "table", "csv", "json"])
def jobs(request, tmp_path):
    table = pandas.DataFrame(ROWS)
    table.to_csv(tmp_path / "jobs.csv", index=False)
    (tmp_path / "jobs.json").write_text(json.dumps(ROWS))
    forms = {"list": ROWS, "generator": (row for row in ROWS), "table": table}
    return forms.get(request.param, tmp_path / f"jobs.{request.param}")


def test_rows_are_the_same_in_every_form(jobs, pipeline):
    wanted, refused = describe_jobs(read_jobs(jobs), pipeline)
    assert not refused
    assert list(wanted) == list(describe_jobs(ROWS, pipeline)[0])
    knight, na, twelve = wanted.values()
    assert (knight.seed, knight.guidance_scale, knight.negative_prompt) == (7, 3, "")
    assert (na.prompt, na.scheduler, na.seed) == ("NA", "DDIMScheduler", 0)
    assert (twelve.prompt, twelve.height, twelve.width) == ("12", 64, 128)


def test_values_are_combined_each_with_each():
    rows = read_jobs({"prompt": ["a", "b"], "seed": range(3), "num_inference_steps": 5})
    assert [(row["prompt"], row["seed"]) for row in rows] == [
        (prompt, seed) for prompt in "ab" for seed in range(3)
    ]
    assert {row["num_inference_steps"] for row in rows} == {5}


@pytest.mark.parametrize("jobs", [[], {}, {"prompt": []}, ["a knight"], pandas.DataFrame()])
def test_what_holds_no_job_is_refused(jobs):
    with pytest.raises(ValueError, match="There is no job in that: give rows"):
        read_jobs(jobs)


@pytest.mark.parametrize(
    ("name", "text", "error"),
    [
        ("jobs.json", "[{", "jobs.json cannot be read"),
        ("jobs.csv", "", "jobs.csv cannot be read"),
        ("jobs.txt", "a knight", "neither .csv nor .json"),
    ],
)
def test_a_file_that_cannot_be_read_is_named(tmp_path, name, text, error):
    (tmp_path / name).write_text(text)
    with pytest.raises(ValueError, match=error):
        read_jobs(tmp_path / name)


@pytest.mark.parametrize(
    ("job", "problem"),
    [
        ({"prompt": "a", "seed": -1}, "seed must be"),
        ({"prompt": "a", "seed": 1.5}, "seed must be"),
        ({"prompt": 3}, "prompt must be text"),
        ({"prompt": None}, "needs a prompt"),
        ({"seed": 1}, "needs a prompt"),
        ({"prompt": "a", "step": 5}, "sets no 'step'"),
        ({"prompt": "a", 5: 5}, "sets no '5'"),
        ({"prompt": "a", "scheduler": "DDIM"}, "'DDIM' is not a scheduler"),
        ({"prompt": "a", "scheduler": ["DDIM"]}, "is not a scheduler"),
        ({"prompt": "a", "height": 100}, "height must be a multiple of 8"),
    ],
)
def test_a_job_that_cannot_be_drawn_is_refused_and_the_others_are_not(job, problem, pipeline):
    wanted, (refused,) = describe_jobs([{"prompt": "a"}, job, {"prompt": "b"}], pipeline)
    assert [settings.prompt for settings in wanted.values()] == ["a", "b"]
    assert problem in refused["problem"]
    assert job.items() <= refused.items()


def test_equal_jobs_are_one_picture(pipeline):
    same = [{"prompt": "a"}, {"prompt": "a", "seed": np.int64(0), "guidance_scale": 7.5}]
    assert len(describe_jobs(same, pipeline)[0]) == 1


def test_names_differ_with_every_setting_but_not_with_the_libraries():
    settings = {"negative_prompt": "b", "seed": 1, "num_inference_steps": 5, "guidance_scale": 2}
    settings |= {"scheduler": "DDIMScheduler", "model": "mine", "weights": 12 * "a", "height": 64}
    names = [name_of(Settings("a", **{name: value})) for name, value in settings.items()]
    assert len({name_of(Settings("a")), *names}) == 1 + len(settings)
    assert name_of(Settings("a")) == name_of(Settings("a", versions={"torch": "2"}))
    assert name_of(Settings("a", guidance_scale=7)) == name_of(Settings("a", guidance_scale=7.0))


@pytest.mark.parametrize("prompt", ["", "Ü/..\\?", 1000 * "long ", "con"])
def test_any_prompt_makes_the_name_of_a_file(prompt, tmp_path):
    name = name_of(Settings(prompt))
    assert len(name) < 100
    (tmp_path / name).touch()
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_half_a_picture_is_not_whole(tmp_path):
    path = tmp_path / "a.png"
    Image.effect_noise((64, 64), 50).save(path)
    data = path.read_bytes()
    assert is_whole(path)
    for length in (0, 10, len(data) // 2, len(data) - 12):
        path.write_bytes(data[:length])
        assert not is_whole(path)
    path.write_bytes(data.replace(b"IDAT", b"IDAT\0", 1))
    assert not is_whole(path)
