"""What a sweep's jobs may be, what they are completed to, and which are refused."""

import json
import re

import numpy as np
import pandas
import pytest
from diffusers import LatentConsistencyModelPipeline
from PIL import Image
from safetensors.torch import load_file, save_file

from helpers import MODELS_FOLDER, load_pipeline
from labs.images import Settings
from labs.sweeps.jobs import describe_jobs, is_complete, name_of, read_jobs
from labs.sweeps.tables import read_csv, write_csv

ROWS = [
    {"prompt": "a knight", "seed": 7, "guidance_scale": 3.0},
    {"prompt": "NA", "negative_prompt": "smiling", "scheduler": "DDIMScheduler"},
    {"prompt": "12", "seed": 0, "height": 64},
]


def read(tmp_path, text):
    path = tmp_path / "jobs.csv"
    path.write_bytes(text.encode())
    return read_jobs(path)


def test_rows_are_the_same_in_every_form(tmp_path, pipeline):
    table = pandas.DataFrame(ROWS)
    table.to_csv(tmp_path / "jobs.CSV", index=False)
    (tmp_path / "jobs.json").write_text(json.dumps(ROWS), encoding="utf-8-sig")
    for jobs in ((row for row in ROWS), table, tmp_path / "jobs.CSV", str(tmp_path / "jobs.json")):
        assert read_jobs(jobs) == ROWS
    wanted, refused = describe_jobs(ROWS, pipeline)
    assert not refused
    knight, na, twelve = wanted.values()
    assert (knight.seed, knight.guidance_scale, knight.negative_prompt) == (7, 3, "")
    assert (na.prompt, na.scheduler, na.seed) == ("NA", "DDIMScheduler", 0)
    assert (twelve.prompt, twelve.height, twelve.width) == ("12", 64, 128)


def test_all_combinations_of_values_are_made():
    rows = read_jobs({"prompt": ["a", "b"], "seed": range(3), "num_inference_steps": 5})
    assert [(row["prompt"], row["seed"]) for row in rows] == [
        (prompt, seed) for prompt in "ab" for seed in range(3)
    ]
    assert {row["num_inference_steps"] for row in rows} == {5}


def test_a_value_alone_may_be_missing_or_a_number_of_numpy(pipeline):
    jobs = {"prompt": "a", "negative_prompt": None, "seed": np.int64(3), "height": np.array(64)}
    jobs |= {"width": float("nan"), "num_inference_steps": 5.0}
    (settings,) = describe_jobs(read_jobs(jobs), pipeline)[0].values()
    assert (settings.seed, settings.height, settings.negative_prompt) == (3, 64, "")
    assert (settings.width, settings.num_inference_steps) == (128, 5)


@pytest.mark.parametrize("jobs", [None, [], {}, {"prompt": []}, ["a"], pandas.DataFrame()])
def test_what_holds_no_job_is_refused(jobs):
    with pytest.raises(ValueError, match="There is no job in that: give rows"):
        read_jobs(jobs)


@pytest.mark.parametrize(
    ("name", "content", "error"),
    [
        ("jobs.json", b"[{", "jobs.json cannot be read: Expecting property name"),
        ("jobs.csv", "prompt\na".encode("utf-16"), "jobs.csv is not UTF-8: save it as UTF-8"),
        ("jobs.csv", b"", "needs a first line with the names"),
        ("jobs.csv", b'prompt\n"a\n', "line 2: unexpected end of data"),
        ("jobs.csv", b"prompt,seed\na knight, red,5", "line 2: there are .* Put a prompt with a"),
        ("jobs.txt", b"a knight", "neither .csv nor .json"),
    ],
)
def test_a_file_that_cannot_be_read_is_named(tmp_path, name, content, error):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=error):
        read_jobs(tmp_path / name)


def test_what_spreadsheets_add_to_a_file_changes_nothing(tmp_path):
    plain = read(tmp_path, "prompt,seed\na knight,0\na queen,1\n")
    assert plain == [{"prompt": "a knight", "seed": 0}, {"prompt": "a queen", "seed": 1}]
    for text in (
        "prompt,seed\na knight,0,\na queen,1,\n",
        "prompt,seed,\r\na knight,0,\r\n,,\r\na queen,1.0,\r\n",
        "\ufeffprompt, seed\n\na knight,0\na queen,1\n",
    ):
        assert read(tmp_path, text) == plain


def test_a_large_seed_is_read_exactly_beside_an_empty_cell(tmp_path):
    large = 1152921504606846977  # no float holds it
    assert read(tmp_path, f"prompt,seed\na,{large}\nb,\n")[0]["seed"] == large


@pytest.mark.parametrize("text", ["=1+1", "-1", "\ta", "'=1", "''@", "'a", "a=", 'a,"b'])
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
        ({"prompt": 3}, "prompt should be text"),
        ({"seed": 1}, "needs a prompt"),
        ({"prompt": "a", "step": 5}, "cannot set 'step'"),
        ({"prompt": "a", "scheduler": "DDIM"}, "'DDIM' is not a scheduler"),
        ({"prompt": "a", "lora": "missing"}, "missing"),
        ({"prompt": "a", "lora": "tiny-portraits-vae-ft"}, "does not hold LoRA weights for this"),
        ({"prompt": "a", "lora": "tiny-portraits-lcm", "lora_strength": "x"}, "should be a number"),
    ],
)
def test_a_job_that_cannot_be_generated_is_refused_and_the_others_are_not(job, problem, pipeline):
    wanted, (refused,) = describe_jobs([{"prompt": "a"}, job, {"prompt": "b"}], pipeline)
    assert [settings.prompt for settings in wanted.values()] == ["a", "b"]
    assert problem in refused["problem"]
    assert refused == {**job, "problem": refused["problem"]}


def test_a_negative_prompt_that_the_pipeline_ignores_is_refused():
    parts = load_pipeline("tiny-portraits", device="cpu").components
    pipeline = LatentConsistencyModelPipeline(**parts, requires_safety_checker=False)
    jobs = [{"prompt": "a"}, {"prompt": "a", "negative_prompt": "red"}]
    wanted, (refused,) = describe_jobs(jobs, pipeline)
    assert len(wanted) == 1 and "ignores the negative prompt" in refused["problem"]


def test_lora_weights_are_told_apart_by_name_content_and_strength(tmp_path):
    pipeline = load_pipeline("tiny-portraits", device="cpu")
    (lora,) = (MODELS_FOLDER / "tiny-portraits-lcm").glob("*.safetensors")
    for folder in ("here", "there"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "style.safetensors").write_bytes(lora.read_bytes())
    weights = load_file(lora)
    save_file({key: 2 * val for key, val in weights.items()}, tmp_path / "there/style.safetensors")
    jobs = [{"prompt": "a"}, {"prompt": "a", "lora": "tiny-portraits-lcm"}]
    jobs += [{"prompt": "a", "lora": "tiny-portraits-lcm", "lora_strength": 0.3}]
    jobs += [{"prompt": "a", "lora": str(tmp_path / folder)} for folder in ("here", "there")]
    wanted, refused = describe_jobs(jobs, pipeline)
    assert not refused
    names = [[*settings.loras] for settings in wanted.values()]
    assert names[0] == [] and names[1] == names[2]
    assert len({(*settings.loras.items(),) for settings in wanted.values()}) == 5
    assert [*wanted.values()][2].loras == {names[1][0]: 0.3}
    moved, _ = describe_jobs([{"prompt": "a", "lora": str(tmp_path / "here")}], pipeline)
    assert [*moved] == [[*wanted][3]]


def test_names_differ_with_every_setting():
    settings = {"negative_prompt": "b", "seed": 1, "num_inference_steps": 5, "guidance_scale": 2}
    settings |= {"scheduler": "DDIMScheduler", "model": "mine", "weights": 12 * "a", "height": 64}
    settings |= {"loras": {"style": 0.3}, "pipeline": "StableDiffusionPAGPipeline"}
    names = [name_of(Settings("a", **{name: value})) for name, value in settings.items()]
    assert len({name_of(Settings("a")), *names}) == 1 + len(settings)
    assert name_of(Settings("a", guidance_scale=7)) == name_of(Settings("a", guidance_scale=7.0))
    for prompt in ("", "Ü/..\\?", 1000 * "long "):
        assert re.fullmatch("[a-z-]{1,50}-seed-0-[0-9a-f]{12}.png", name_of(Settings(prompt)))


def test_half_an_image_is_not_complete(tmp_path):
    path = tmp_path / "a.png"
    Image.effect_noise((64, 64), 50).save(path)
    data = path.read_bytes()
    assert is_complete(path)
    for length in (0, 10, len(data) // 2, len(data) - 12):
        path.write_bytes(data[:length])
        assert not is_complete(path)
    path.write_bytes(data.replace(b"IDAT", b"IDAT\0", 1))
    assert not is_complete(path)
