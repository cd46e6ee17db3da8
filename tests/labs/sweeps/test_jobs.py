"""What a sweep's jobs may be, what they are completed to, and which are refused."""

import json
import re

import numpy as np
import pandas
import pytest
import torch
from safetensors.torch import load_file, save_file

from helpers import MODELS_FOLDER, load_pipeline
from labs.images import Settings
from labs.sweeps.jobs import describe_jobs, name_of, read_jobs
from labs.sweeps.tables import read_csv, write_csv

ROWS = [
    {"prompt": "a knight", "seed": 7, "guidance_scale": 3.0},
    {"prompt": "NA", "negative_prompt": "smiling", "scheduler": "DDIMScheduler"},
    {"prompt": "12", "seed": 2**60 + 1, "height": 64},
]


def names_of(jobs, pipeline):
    wanted, refused = describe_jobs(read_jobs(jobs), pipeline)
    assert not refused
    return list(wanted)


def test_rows_are_the_same_in_every_form(tmp_path, pipeline):
    with open(tmp_path / "jobs.CSV", "w", encoding="utf-8-sig", newline="") as file:
        file.write("prompt, negative_prompt,seed,guidance_scale,scheduler,height,\r\n")
        file.write("a knight,,7.0,3.0,,,\r\n,,,,,,\r\nNA,smiling,,,DDIMScheduler,\r\n\r\n")
        file.write(f'"12",,{2**60 + 1},,,64\r\n')  # no float holds this seed
    (tmp_path / "jobs.json").write_text(json.dumps(ROWS), encoding="utf-8")
    wanted, _ = describe_jobs(ROWS, pipeline)
    for jobs in ((row for row in ROWS), tmp_path / "jobs.CSV", str(tmp_path / "jobs.json")):
        assert names_of(jobs, pipeline) == list(wanted)
    knight, na, twelve = wanted.values()
    assert (knight.seed, knight.guidance_scale, knight.negative_prompt) == (7, 3, "")
    assert (na.prompt, na.scheduler, na.seed) == ("NA", "DDIMScheduler", 0)
    assert (twelve.prompt, twelve.height, twelve.width) == ("12", 64, 128)


def test_all_combinations_of_values_are_made():
    jobs = {"prompt": ["a", "b"], "seed": range(3), "height": np.int64(64), "width": None}
    assert read_jobs(jobs) == [
        {"prompt": prompt, "seed": seed, "height": 64} for prompt in "ab" for seed in range(3)
    ]


@pytest.mark.parametrize("jobs", [None, {}, {"prompt": []}, ["a"], pandas.DataFrame(ROWS)])
def test_what_holds_no_job_is_refused(jobs):
    with pytest.raises(ValueError, match="There is no job in that: give rows"):
        read_jobs(jobs)


@pytest.mark.parametrize(
    ("name", "content", "error"),
    [
        ("jobs.json", b"[{", "jobs.json cannot be read: Expecting property name"),
        ("jobs.csv", "prompt\na".encode("utf-16"), "jobs.csv cannot be read: 'utf-8' codec"),
        ("jobs.csv", b'prompt\n"a\n', "line 2: unexpected end of data"),
        ("jobs.csv", b"prompt,seed\na knight, red,5", "line 2 has more .* Put a prompt with a"),
        ("jobs.csv", b"prompt,seed, seed\na,1,2", "its first line names 'seed' twice"),
        ("jobs.txt", b"a knight", "neither .csv nor .json"),
    ],
)
def test_a_file_that_cannot_be_read_is_named(tmp_path, name, content, error):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=error):
        read_jobs(tmp_path / name)


@pytest.mark.parametrize("text", ["=1+1", "\ta", "'=1", "''@", "'a", 'a,"b'])
def test_a_cell_is_no_formula_and_reads_back_the_same(tmp_path, text):
    path = tmp_path / "table.csv"
    write_csv(path, pandas.DataFrame([{"prompt": text, "seed": -1}]))
    content = path.read_text(encoding="utf-8")
    assert read_csv(content) == [{"prompt": text, "seed": "-1"}]
    assert content.splitlines()[1].strip('"')[0] not in "=+-@\t"


@pytest.mark.parametrize(
    ("job", "problem"),
    [
        ({"prompt": "a", "seed": "one"}, "seed should be a whole number"),
        ({"seed": 1}, "prompt should be text"),
        ({"prompt": "a", "step": 5}, "cannot set 'step'"),
        ({"prompt": "a", "scheduler": "DDIM"}, "'DDIM' is not a scheduler"),
        ({"prompt": "a", "lora": "missing"}, "missing"),
        ({"prompt": "a", "lora": "tiny-portraits-vae-ft"}, "does not hold LoRA weights for this"),
        ({"prompt": "a", "lora": "tiny-portraits-lcm", "lora_strength": "x"}, "a number, not 'x'"),
        ({"prompt": "a", "lora": ["one", "two"]}, "lora of one job should be a single"),
        ({"prompt": "a", "lora": float("nan")}, "should be a path or a name, not nan"),
        ({"prompt": "a", "lora_strength": 0.3}, "has no effect without lora"),
    ],
)
def test_a_job_that_cannot_be_generated_is_refused_and_the_others_are_not(job, problem, pipeline):
    wanted, (refused,) = describe_jobs([{"prompt": "a"}, job, {"prompt": "b"}], pipeline)
    assert [settings.prompt for settings in wanted.values()] == ["a", "b"]
    assert problem in refused["problem"]
    assert refused == {**job, "problem": refused["problem"]}


def test_lora_weights_are_told_apart_by_name_content_and_strength(tmp_path):
    (lora,) = (MODELS_FOLDER / "tiny-portraits-lcm").glob("*.safetensors")
    here, there = (tmp_path / folder / "style.safetensors" for folder in ("here", "there"))
    for path, factor in ((here, 1), (there, 2)):
        path.parent.mkdir()
        save_file({key: factor * val for key, val in load_file(lora).items()}, path)
    jobs = [{"lora": "tiny-portraits-lcm", "lora_strength": strength} for strength in ("0.3", 1)]
    jobs += [{"lora": str(path)} for path in (here, there.parent)]
    jobs += [{"lora_strength": 0.5}]  # without LoRA, to compare with
    part = tmp_path / "part.safetensors"
    save_file(load_file(lora) | {"unet.lora_A.weight": torch.zeros(2)}, part)
    jobs += 2 * [{"lora": str(part)}]
    jobs = [{"prompt": "a", **job} for job in jobs]
    wanted, refused = describe_jobs(jobs, load_pipeline("tiny-portraits", device="cpu"))
    assert len(refused) == 2
    loras = [settings.loras for settings in wanted.values()]
    (name,) = loras[0]
    assert loras[:2] == [{name: 0.3}, {name: 1.0}] and loras[4] == {}
    assert len(set().union(*loras)) == 3
    moved = here.rename(tmp_path / "style.safetensors")
    pipeline = load_pipeline("tiny-portraits", device="cpu")
    assert names_of([{"prompt": "a", "lora": str(moved)}], pipeline) == [list(wanted)[2]]


def test_names_differ_with_the_settings_and_are_legal_files():
    assert name_of(Settings("a")) != name_of(Settings("a", pipeline="StableDiffusionPAGPipeline"))
    assert name_of(Settings("a", guidance_scale=7)) == name_of(Settings("a", guidance_scale=7.0))
    for prompt in ("", "Ü/..\\?", 1000 * "long "):
        assert re.fullmatch("[a-z-]{1,50}-seed-0-[0-9a-f]{12}.png", name_of(Settings(prompt)))
