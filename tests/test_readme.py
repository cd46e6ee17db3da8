"""The README and the teaching plans say what the repository holds."""

import json
import re
from pathlib import Path

import pytest

from tools import pictures

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
NOTEBOOKS = sorted(ROOT.glob("notebooks/[!.]*.ipynb"))
ROWS = re.findall(r"\]\(notebooks/(\w+)\.ipynb\).*\| (\d+) \|$", README, re.MULTILINE)
WORDS_A_MINUTE = 130


def test_the_portraits_stand_under_their_prompts():
    text = " ".join(README.split())
    assert all(f'"{prompt}"' in text for prompt in pictures.PORTRAITS)


def test_the_map_lists_every_notebook_and_its_minutes_add_up():
    assert {path.stem for path in NOTEBOOKS} <= {name for name, _ in ROWS}
    parts = [int(total) for total in re.findall(r"(\d+) minutes\.$", README, re.MULTILINE)]
    one = sum(int(minutes) for name, minutes in ROWS if name < "06")
    assert parts == [one, sum(int(minutes) for _, minutes in ROWS) - one]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_the_minutes_are_those_of_reading(path):
    minutes = dict(ROWS)[path.stem]
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    words = sum(len("".join(c["source"]).split()) for c in cells if c["cell_type"] == "markdown")
    assert abs(words / WORDS_A_MINUTE - int(minutes)) <= 3, f"{words} words"


@pytest.mark.parametrize("minutes", [60, 90, 180])
def test_the_teaching_plans_add_up(minutes):
    text = (ROOT / "docs/teaching/README.md").read_text(encoding="utf-8")
    (plan,) = re.findall(rf"^### {minutes} minutes(.*?)(?=^##)", text, re.DOTALL | re.MULTILINE)
    rows = re.findall(r"\| (\d+) \| (\d+) \|$", plan, re.MULTILINE)
    assert sum(int(part) for row in rows for part in row) == minutes


def test_the_table_of_seconds_is_what_notebook_06_measured():
    row = next(line for line in README.splitlines() if " | tiny-portraits | " in line)
    stored = (ROOT / "notebooks/06_faster.ipynb").read_text(encoding="utf-8")
    labels = ("50 steps, PNDM", "20 steps", "OpenVINO, 2 threads", "4 steps, few-step weights")
    measured = [re.search(rf'"{label}: ([\d.]+) s', stored)[1] for label in labels]
    shown = [float(seconds) for seconds in re.findall(r"[\d.]+(?= s )", row)]
    assert shown == pytest.approx([float(seconds) for seconds in measured], abs=0.0051)
