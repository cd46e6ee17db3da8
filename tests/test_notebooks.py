"""What CONTRIBUTING.md asks of every notebook; nbval compares the outputs themselves."""

import re
from pathlib import Path
from statistics import median

import nbformat
import pytest

from helpers.lessons.published import CLAIMS
from tools import colab

NOTEBOOKS = Path(__file__).parents[1] / "notebooks"
TAUGHT = sorted(NOTEBOOKS.glob("*.ipynb"))
SOLVED = sorted((NOTEBOOKS / "solutions").glob("*.ipynb"))
LESSONS = {
    "01_speed": [f"L{number}" for number in range(1, 9)],
    "02_memory": ["L9", "L10", "L11", "L18"],
    "03_quality": ["L12", "L13", "L14", "L15"],
    "05_faster": ["L16", "L17"],
    "06_choose_a_gpu": [],
}
WITH_EXERCISES = ["01_speed", "02_memory", "03_quality", "06_choose_a_gpu"]
MEGABYTE = 1_000_000


def read(path):
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    return notebook


@pytest.fixture(params=TAUGHT + SOLVED, ids=lambda path: f"{path.parent.name}/{path.stem}")
def path(request):
    return request.param


@pytest.fixture
def notebook(path):
    """Any of the notebooks."""
    return read(path)


@pytest.fixture(params=TAUGHT, ids=lambda path: path.stem)
def lesson(request):
    """One that teaches."""
    return read(request.param)


def code_cells(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def prose(notebook):
    return "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")


def outputs(notebook):
    return [output for cell in code_cells(notebook) for output in cell.outputs]


def printed(cell):
    return "".join(output.get("text", "") for output in cell.outputs)


def exercises(notebook):
    return [cell for cell in code_cells(notebook) if "exercise" in cell.metadata.get("tags", [])]


def test_there_are_notebooks_with_solutions():
    assert [path.stem for path in TAUGHT] == sorted(["00_start_here", *LESSONS, "04_playground"])
    assert [path.stem for path in SOLVED] == WITH_EXERCISES


def test_it_opens_and_closes_as_all_do(lesson):
    first = lesson.cells[0].source
    assert first.startswith("# ")
    in_order = r"What you'll do.*What you'll learn.*What you'll need"
    assert re.search(in_order, first, re.DOTALL)
    last_titles = re.findall(r"^## (.+)$", prose(lesson), re.MULTILINE)[-3:]
    assert last_titles == ["On your own", "In practice", "Further reading"]


@pytest.mark.parametrize("stem", LESSONS)
def test_lessons_stand_in_order_in_tags_and_headings(stem):
    notebook = nbformat.read(NOTEBOOKS / f"{stem}.ipynb", as_version=4)
    tags = [tag for cell in notebook.cells for tag in cell.metadata.get("tags", [])]
    lessons = [tag for tag in tags if re.fullmatch(r"L\d+", tag)]
    assert list(dict.fromkeys(lessons)) == LESSONS[stem]
    assert lessons == sorted(lessons, key=lambda lesson: int(lesson[1:]))
    assert re.findall(r"^## (L\d+) ", prose(notebook), re.MULTILINE) == LESSONS[stem]


@pytest.mark.parametrize("lesson_id", CLAIMS)
def test_every_claim_has_a_verdict_that_a_cell_printed(lesson_id):
    verdict = re.compile(
        rf"^{lesson_id} (held|contradicted|cannot be tested) here: .+", re.MULTILINE
    )
    texts = [printed(cell) for path in TAUGHT for cell in code_cells(read(path))]
    assert sum(bool(verdict.search(text)) for text in texts) == 1


@pytest.mark.parametrize("stem", WITH_EXERCISES)
def test_exercises_wait_for_an_answer_and_the_solutions_have_one(stem):
    open_ones = [printed(cell) for cell in exercises(read(NOTEBOOKS / f"{stem}.ipynb"))]
    solved = [printed(cell) for cell in exercises(read(NOTEBOOKS / f"solutions/{stem}.ipynb"))]
    assert 3 <= len(open_ones) == len(solved) <= 5
    assert [text for text in open_ones if not text.startswith("Not tried yet: ")] == []
    assert [text for text in solved if not text.startswith("Right: ")] == []


def test_the_model_is_named_once_and_can_be_overridden(notebook):
    (cell,) = (c for c in code_cells(notebook) if "parameters" in c.metadata.get("tags", []))
    assert cell is code_cells(notebook)[1]
    assert 'model = os.environ.get("TUTORIAL_MODEL", "tiny-portraits")' in cell.source
    assert sum("tiny-portraits" in c.source for c in code_cells(notebook)) == 1


def test_the_first_cell_makes_colab_ready_and_is_silent(notebook):
    first = code_cells(notebook)[0]
    assert first.metadata.tags == ["colab"] and first.outputs == []
    assert first.source == colab.first_cell(colab.read_address())


def test_prose_stands_before_and_after_every_code_cell(notebook):
    kinds = [cell.cell_type for cell in notebook.cells]
    assert ("code", "code") not in zip(kinds, kinds[1:], strict=False)
    assert kinds[0] == kinds[-1] == "markdown"
    before = [notebook.cells[index - 1].source for index, k in enumerate(kinds) if k == "code"]
    assert [text for text in before if not re.search(r"[Ee]xpect", text)] == []


def test_code_cells_are_short(notebook):
    assert max(len(cell.source.splitlines()) for cell in code_cells(notebook)) <= 20


def test_most_cells_of_a_lesson_are_very_short(lesson):
    assert median(len(cell.source.splitlines()) for cell in code_cells(lesson)) <= 6


def test_it_was_run_from_top_to_bottom_without_an_error(notebook):
    counts = [cell.execution_count for cell in code_cells(notebook)]
    assert counts == list(range(1, len(counts) + 1))
    assert {output.output_type for output in outputs(notebook)} <= {
        "display_data",
        "execute_result",
        "stream",
    }


def test_no_warning_or_progress_bar_is_stored(notebook):
    streams = [output for output in outputs(notebook) if output.output_type == "stream"]
    assert [output.text for output in streams if output.name != "stdout"] == []


def test_every_picture_has_a_text_for_who_cannot_see_it(notebook):
    pictures = [output for output in outputs(notebook) if "image/png" in output.get("data", {})]
    for picture in pictures:
        assert len(picture.metadata["image/png"]["alt"]) > 20


def test_lessons_show_pictures(lesson):
    assert any("image/png" in output.get("data", {}) for output in outputs(lesson))


def test_no_picture_is_checked_by_the_eye_alone(notebook):
    for cell in code_cells(notebook):
        kinds = {output.output_type for output in cell.outputs}
        compared = "nbval-ignore-output" not in cell.metadata.get("tags", [])
        if compared and "display_data" in kinds:
            assert kinds & {"stream", "execute_result"}, cell.source


def test_it_is_small_and_portable(path, notebook):
    assert path.stat().st_size <= 2 * MEGABYTE
    assert notebook.metadata.kernelspec.name == "python3"
    assert not any("execution" in cell.metadata for cell in notebook.cells)
    texts = [
        str(output.get("text") or output["data"].get("text/plain")) for output in outputs(notebook)
    ]
    assert not re.search(r"(?<!\.)/models/", "".join(texts))  # a folder of one machine alone
    widgets = notebook.metadata.get("widgets", {})
    assert all("state" in widget for widget in widgets.values())
