"""What CONTRIBUTING.md asks of every notebook; nbval compares the outputs themselves."""

import ast
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
    "02_speed": [f"L{number}" for number in range(1, 9)],
    "03_memory": ["L9", "L10", "L11", "L18"],
    "04_quality": ["L12", "L13", "L14", "L15"],
    "05_faster": ["L16", "L17"],
}
# What a reader with the page open looks for, as `ast.unparse` writes it.
CALLS = {
    "L1": r"DiffusionPipeline\.from_pretrained\(model_id, use_safetensors=True\)",
    "L2": r"pipeline\.to\(device\)",
    "L3": r"torch\.Generator\('cpu'\)\.manual_seed\(seed\)",
    "L4": r"pipeline\(prompt, generator=generator\)\.images\[0\]",
    "L5": r"DiffusionPipeline\.from_pretrained\(model_id, dtype=\w+, use_safetensors=True\)",
    "L6": r"pipeline\.scheduler\.compatibles",
    "L7": r"DPMSolverMultistepScheduler\.from_config\(pipeline\.scheduler\.config\)",
    "L8": r"pipeline\(prompt, generator=generator, num_inference_steps=20\)\.images\[0\]",
    "L9": r"def get_inputs\(batch_size=1\):",
    "L10": r"make_image_grid\(images, 2, 2\)",
    "L11": r"pipeline\.enable_attention_slicing\(\)",
    "L12": r"DiffusionPipeline\.from_pretrained\(model_id, .*use_safetensors=True\)",
    "L13": r"AutoencoderKL\.from_pretrained\(.*use_safetensors=True\)",
    "L14": r"prompt \+= ', tribal panther make up, blue on red, side profile",
    "L15": r"pipeline\(prompt=prompts, generator=generator, num_inference_steps=25\)\.images",
    "L16": r"torch\.compile\(pipeline\.unet",
    "L17": r"pipeline\.enable_xformers_memory_efficient_attention\(\)",
    "L18": r"pipeline\.vae\.enable_slicing\(\)",
}
TERMS = {
    "01_how_a_picture_is_made": [
        "latent", "noise schedule", "scheduler", "guidance", "VAE", "UNet", "text encoder",
        "cross-attention",
    ],
    "02_speed": ["half precision"],
    "03_memory": ["SDPA", "offload"],
    "05_faster": ["LoRA", "distillation"],
}  # fmt: skip
# Names of what takes or is given seconds: no output that they change may be compared.
TIMED = {
    "measure", "timed", "perf_counter", "seconds_per_image", "times_faster", "measure_machine",
    "hours_of_sweep", "predicted_seconds", "pays_off_after",
}  # fmt: skip
EXPECTATIONS = 15  # sentences that say what to expect, in all the notebooks
MEGABYTE = 1_000_000
PICTURES = {"image/png", "image/jpeg"}


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
    assert set(LESSONS) <= {path.stem for path in TAUGHT}
    assert [path.stem for path in TAUGHT] == [path.stem for path in SOLVED]
    numbers = [int(path.stem[:2]) for path in TAUGHT]
    assert numbers == list(range(len(TAUGHT)))


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


def lesson_cells(lesson_id):
    """The code of a lesson, wherever it is, as Python would write it."""
    cells = [cell for path in TAUGHT for cell in code_cells(read(path))]
    tagged = [cell for cell in cells if lesson_id in cell.metadata.get("tags", [])]
    return [ast.unparse(ast.parse(cell.source)) for cell in tagged]


@pytest.mark.parametrize("lesson_id", CALLS)
def test_a_reader_finds_the_call_of_the_page(lesson_id):
    assert any(re.search(CALLS[lesson_id], code) for code in lesson_cells(lesson_id))


@pytest.mark.parametrize(
    ("stem", "term"), [(stem, term) for stem, terms in TERMS.items() for term in terms]
)
def test_a_term_is_explained_where_it_first_occurs(stem, term):
    assert re.search(rf"\*{term}s?\*", prose(read(NOTEBOOKS / f"{stem}.ipynb")), re.IGNORECASE)
    earlier = [path for path in TAUGHT if "01" <= path.stem[:2] < stem[:2]]
    used = [path.stem for path in earlier if re.search(rf"\b{term}\b", prose(read(path)), re.I)]
    assert used == []


def test_little_is_predicted():
    texts = [prose(read(path)) for path in TAUGHT + SOLVED]
    assert sum(len(re.findall(r"\b[Ee]xpect\b", text)) for text in texts) <= EXPECTATIONS


def test_every_notebook_links_what_it_speaks_of(lesson):
    links = re.findall(r"\]\((https://[^)\s]+)\)", prose(lesson))
    assert len(set(links)) >= 2


def test_a_picture_comes_before_the_fifth_code_cell(lesson):
    early = [output for cell in code_cells(lesson)[:5] for output in cell.outputs]
    assert any(PICTURES & set(output.get("data", {})) for output in early)


def test_no_cell_must_be_read_twice(notebook):
    for cell in code_cells(notebook)[1:]:  # the first one is for Colab alone
        for node in ast.walk(ast.parse(cell.source)):
            assert not isinstance(node, ast.NamedExpr), cell.source
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "zip":
                inner = [getattr(getattr(arg, "func", None), "id", "") for arg in node.args]
                assert "zip" not in inner, cell.source


@pytest.mark.parametrize("stem", [path.stem for path in TAUGHT])
def test_exercises_wait_for_an_answer_and_the_solutions_have_one(stem):
    open_ones = [printed(cell) for cell in exercises(read(NOTEBOOKS / f"{stem}.ipynb"))]
    solved = [printed(cell) for cell in exercises(read(NOTEBOOKS / f"solutions/{stem}.ipynb"))]
    assert len(open_ones) == len(solved) == 3
    assert [text for text in open_ones if not text.startswith("Not tried yet: ")] == []
    assert [text for text in solved if not text.startswith("Right: ")] == []
    text = prose(read(NOTEBOOKS / f"{stem}.ipynb"))
    found = re.findall(r"\*\*(Warm-up|Core|Stretch) exercise", text)
    assert found == ["Warm-up", "Core", "Stretch"]
    assert text.count("<details><summary>A hint</summary>") >= 3


def test_the_model_is_named_once_and_can_be_overridden(notebook):
    (cell,) = (c for c in code_cells(notebook) if "parameters" in c.metadata.get("tags", []))
    assert cell is code_cells(notebook)[1]  # the first offers Colab's readers a choice
    assert 'model = os.environ.get("TUTORIAL_MODEL", "tiny-portraits")' in cell.source
    assert sum("tiny-portraits" in c.source for c in code_cells(notebook)[1:]) == 1


def test_the_first_cell_makes_colab_ready_and_is_silent(notebook):
    first = code_cells(notebook)[0]
    assert first.metadata.tags == ["colab"] and first.outputs == []
    assert first.source == colab.first_cell(colab.read_address())


def test_prose_leads_through_the_code(notebook):
    kinds = "".join(cell.cell_type[0] for cell in notebook.cells)
    assert kinds[0] == kinds[-1] == "m"
    assert "ccccc" not in kinds


def unguarded_calls(node):
    """The calls that a cell makes itself, outside of functions and of `try`."""
    for child in ast.iter_child_nodes(node):
        if not isinstance(child, ast.FunctionDef | ast.Try):
            if isinstance(child, ast.Call):
                yield ast.unparse(child.func)
            yield from unguarded_calls(child)


def test_a_package_that_may_be_missing_stops_no_notebook(notebook):
    of_openvino = {"use_openvino", "fast.use_openvino", "nothing_lost"}
    for cell in code_cells(notebook):
        assert not of_openvino & set(unguarded_calls(ast.parse(cell.source))), cell.source


def test_what_hangs_on_the_clock_is_not_compared(notebook):
    for cell in code_cells(notebook):
        named = {getattr(node, "id", getattr(node, "attr", "")) for node in ast.walk(
            ast.parse(cell.source))}  # fmt: skip
        said = printed(cell)
        if named & TIMED and said and not said.startswith("Not tried yet: "):
            assert "nbval-ignore-output" in cell.metadata.get("tags", []), cell.source


def test_code_cells_are_short(notebook):
    assert max(len(cell.source.splitlines()) for cell in code_cells(notebook)) <= 20


def test_most_cells_of_a_lesson_are_very_short(lesson):
    assert median(len(cell.source.splitlines()) for cell in code_cells(lesson)) <= 10


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
    pictures = [output for output in outputs(notebook) if PICTURES & set(output.get("data", {}))]
    for picture in pictures:
        (kind,) = PICTURES & set(picture.data)
        assert len(picture.metadata[kind]["alt"]) > 20


def test_lessons_show_pictures(lesson):
    assert any(PICTURES & set(output.get("data", {})) for output in outputs(lesson))


def test_no_picture_is_checked_by_the_eye_alone(notebook):
    for cell in code_cells(notebook):
        kinds = {output.output_type for output in cell.outputs}
        compared = "nbval-ignore-output" not in cell.metadata.get("tags", [])
        drawn = any("image/jpeg" in output.get("data", {}) for output in cell.outputs)
        if compared and drawn:
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
