"""A whole sweep: what is drawn again and what is not, the table, the page, and what is said."""

import os
import re
from html.parser import HTMLParser
from pathlib import Path

import pandas
import pytest
from PIL import Image

from helpers import image_distance
from labs.images import read_settings
from labs.sweeps import running, sweep
from labs.sweeps.__main__ import main

JOBS = {"prompt": ["a knight & <b>", "a queen"], "seed": [0, 1], "num_inference_steps": 2}
FIGURES = (
    r"(\d+) pictures? drawn in \d+ s by 1 process(?:, [\d.]+ a second)?(?:; (\d+) were there)?"
)


def pictures(folder):
    return {path.name: path.stat().st_mtime_ns for path in Path(folder).glob("*.png")}


def figures(capsys):
    """How many were drawn, and how many were there."""
    drawn, there = re.search(FIGURES, capsys.readouterr().out).groups()
    return int(drawn), int(there or 0)


def test_what_is_there_and_whole_is_not_drawn_again(pipeline, tmp_path, capsys):
    table = sweep(JOBS, tmp_path, model=pipeline)
    first, images = pictures(tmp_path), [Image.open(tmp_path / name) for name in table["file"]]
    assert figures(capsys) == (4, 0)
    broken, lost = table["file"][1:3]
    for image in images:
        image.load()
    (tmp_path / broken).write_bytes((tmp_path / broken).read_bytes()[:-100])
    (tmp_path / lost).unlink()
    (tmp_path / f".{lost}.123.part").touch()
    again = sweep(JOBS | {"seed": [0, 1, 2]}, tmp_path, model=pipeline)
    assert figures(capsys) == (4, 2)
    after = pictures(tmp_path)
    assert len(after) == len(again) == 6
    assert {name for name in first if first[name] == after[name]} == {*first} - {broken, lost}
    for name, image in zip(table["file"], images, strict=True):
        assert image_distance(image, Image.open(tmp_path / name)) < 2
    assert not list(tmp_path.glob(".*"))


def test_the_table_tells_all(pipeline, tmp_path):
    jobs = [{"prompt": "portrait photo of a old warrior chief", "num_inference_steps": 2}]
    jobs += [{"prompt": "a cat", "num_inference_steps": 2}, {"prompt": "a", "seed": "x"}]
    table = sweep(jobs, tmp_path, model=pipeline)
    read = pandas.read_csv(tmp_path / "table.csv", keep_default_na=False)
    assert list(read) == list(table)
    assert list(read["prompt"]) == [job["prompt"] for job in jobs]
    assert list(table["problem"].str[:4]) == ["", "", "seed"]
    assert (table["seconds"][:2] > 0).all()
    assert 0 <= table["adherence"][0] <= 1 and table["adherence"][1:].isna().all()
    assert read_settings(tmp_path / table["file"][0]).prompt == jobs[0]["prompt"]


def test_a_model_that_no_embedded_judge_knows_is_not_judged(tiny_shape, tmp_path):
    jobs = {"prompt": "a knight", "num_inference_steps": 1}
    assert "adherence" not in sweep(jobs, tmp_path, model=tiny_shape, device="cpu")


def test_the_sheet_shows_every_picture_with_its_prompt(pipeline, tmp_path):
    table = sweep(JOBS, tmp_path, model=pipeline)
    seen = []

    class Reader(HTMLParser):
        def handle_starttag(self, tag, attrs):
            if tag == "img":
                seen.append(dict(attrs))
            assert tag != "b", "a prompt is text"

    text = (tmp_path / "contact_sheet.html").read_text(encoding="utf-8")
    Reader().feed(text)
    assert [image["src"] for image in seen] == list(table["file"])
    assert [image["alt"] for image in seen] == list(table["prompt"])
    assert {image["loading"] for image in seen} == {"lazy"}
    assert "4 pictures" in text


def test_the_price_is_that_of_the_time(pipeline, tmp_path, capsys, monkeypatch):
    clock = iter([0.0, *[7200.0] * 100])
    monkeypatch.setattr(running.time, "monotonic", lambda: next(clock))
    sweep(JOBS, tmp_path, model=pipeline, price_per_hour=1.5)
    assert "in 7200 s by 1 process, 0.00 a second. Price: 3.00." in capsys.readouterr().out


def test_a_folder_that_cannot_be_written_to_is_said_before_the_model_is_loaded(tmp_path):
    (tmp_path / "file").touch()
    for folder in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(OSError, match="cannot be written to .*: give another folder"):
            sweep(JOBS, folder, model="never loaded")


def test_processes_that_cannot_join_do_not_draw_everything_twice(tmp_path, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setattr(running, "pick_device", lambda device: running.torch.device("mps"))
    with pytest.raises(RuntimeError, match="one of several processes"):
        sweep(JOBS, tmp_path, device="auto")


def test_the_command_ends_well_only_if_all_is_there(tmp_path, capsys):
    csv, folder = tmp_path / "jobs.csv", tmp_path / "pictures"
    csv.write_text("prompt,seed,num_inference_steps\na knight,0,2\na queen,-1,2\n")
    assert main([str(csv), str(folder), "--device", "cpu"]) == 1
    assert "A job is refused: seed must be a whole number" in capsys.readouterr().out
    csv.write_text("prompt,seed,num_inference_steps\na knight,0,2\n")
    assert main([str(csv), str(folder), "--device", "cpu"]) == 0
    assert figures(capsys) == (0, 1)
    assert main([str(csv), str(folder), "--model", "no-such"]) == 1
    assert "'no-such' is not a name in MODELS" in capsys.readouterr().out


def test_it_leaves_no_state_behind_for_processes_that_are_started_later(pipeline, tmp_path):
    from accelerate import PartialState

    before = dict(os.environ)
    sweep(JOBS, tmp_path, model=pipeline)
    assert not PartialState._shared_state
    assert dict(os.environ) == before
