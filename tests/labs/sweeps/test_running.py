"""A whole sweep: what is generated again and what is not, the table, and what is said."""

import re

import pytest
import torch
from PIL import Image

from helpers import image_distance
from labs.sweeps import generating, running, sweep
from labs.sweeps.__main__ import main
from labs.sweeps.tables import read_csv

JOBS = {"prompt": ["a knight & <b>", "a queen"], "seed": [0, 1], "num_inference_steps": 2}
FIGURES = r"(\d+) images? generated in \d+ s by 1 process(?:, [\d.]+ a second)?(?:; (\d+) were)?"


@pytest.fixture(autouse=True)
def loaded_once(pipeline, monkeypatch):
    """The embedded model in place of one that each sweep loads."""
    monkeypatch.setattr(running, "load_pipeline", lambda *_, **__: pipeline)


def images(folder):
    return {path.name: path.stat().st_mtime_ns for path in folder.glob("*.png")}


def figures(capsys):
    """How many were generated, and how many were there."""
    generated, there = re.search(FIGURES, capsys.readouterr().out).groups()
    return int(generated), int(there or 0)


def test_what_is_there_and_complete_is_not_generated_again(tmp_path, capsys):
    table = sweep(JOBS, tmp_path)
    first, before = images(tmp_path), [Image.open(tmp_path / name) for name in table["file"]]
    assert figures(capsys) == (4, 0)
    broken, lost = table["file"][1:3]
    for image in before:
        image.load()
    (tmp_path / broken).write_bytes((tmp_path / broken).read_bytes()[:-100])
    (tmp_path / lost).unlink()
    others = tmp_path / f".{lost}.1234abcd.part"  # half-written by another process
    others.touch()
    again = sweep(JOBS | {"seed": [0, 1, 2]}, tmp_path)
    assert figures(capsys) == (4, 2)
    after = images(tmp_path)
    assert len(after) == len(again) == 6 and others.exists()
    assert {name for name in first if first[name] == after[name]} == {*first} - {broken, lost}
    for name, image in zip(table["file"], before, strict=True):
        assert image_distance(image, Image.open(tmp_path / name)) < 2


def test_the_table_tells_all(tmp_path):
    jobs = [{"prompt": "portrait photo of a old warrior chief", "num_inference_steps": 2}]
    jobs += [{"prompt": "=1+1", "num_inference_steps": 2, "seed": 2**64 - 1}]
    jobs += [{"prompt": "a", "scheduler": "x", "seconds": "fast"}]
    table = sweep(jobs, tmp_path)
    rows = read_csv((tmp_path / "table.csv").read_text(encoding="utf-8"))
    assert [row["prompt"] for row in rows] == [job["prompt"] for job in jobs]
    assert list(table["problem"].str[:4]) == ["", "", "A jo"]
    assert table["seed"][1] == 2**64 - 1 == int(rows[1]["seed"])
    assert (table["seconds"][:2] > 0).all()


def test_control_c_says_how_far_it_is(tmp_path, capsys, monkeypatch):
    save = generating.save_image

    def interrupt(image, path, settings, **options):
        if len(images(tmp_path)) == 2:
            raise KeyboardInterrupt
        save(image, path, settings, **options)

    monkeypatch.setattr(generating, "save_image", interrupt)
    with pytest.raises(KeyboardInterrupt):
        sweep(JOBS, tmp_path)
    assert "2 of 4 images are there: run the same again" in capsys.readouterr().out


def test_a_process_generates_its_share_and_then_what_others_have_not(tmp_path, monkeypatch):
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("OMP_NUM_THREADS", "3")  # for each process, as launchers set it
    threads, seen, record = torch.get_num_threads(), set(), generating.generate
    monkeypatch.setattr(
        generating, "generate", lambda *a: seen.add(torch.get_num_threads()) or record(*a)
    )
    assert sweep(JOBS, tmp_path) is None
    assert torch.get_num_threads() == threads and seen == {3}
    assert len(images(tmp_path)) == 4
    assert not (tmp_path / "table.csv").exists()


def test_each_process_of_a_machine_has_its_own_gpu(monkeypatch):
    monkeypatch.setattr(running, "pick_device", torch.device)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert running._device("cuda") == torch.device("cuda")
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert running._device("cuda") == torch.device("cuda", 1)
    assert running._device("cuda:0") == torch.device("cuda", 0)


def test_the_command_ends_well_only_if_all_is_there(tmp_path, capsys):
    csv, folder = tmp_path / "jobs.csv", tmp_path / "images"
    good = "prompt,seed,num_inference_steps\na knight,0,2\n"
    csv.write_text(f"{good}a queen,-1,2\n", encoding="utf-8")
    assert main([str(csv), str(folder), "--device", "cpu"]) == 1
    assert "1 job is refused: seed should be a whole number" in capsys.readouterr().out
    csv.write_text(good, encoding="utf-8")
    assert main([str(csv), str(folder), "--device", "cpu"]) == 0
    assert figures(capsys) == (0, 1)
    for size in ("0", "-1"):
        assert main([str(csv), str(folder), "--batch-size", size]) == 1
        assert f"batch_size should be a whole number from 1, not {size}" in capsys.readouterr().out
    assert main(["missing.csv", str(folder)]) == 1
    assert "missing.csv" in capsys.readouterr().out
