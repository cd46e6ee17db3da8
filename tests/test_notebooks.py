"""What every notebook promises its readers; nbval compares the outputs themselves."""

import ast
import re
from pathlib import Path

import nbformat
import pytest

from helpers.lessons.published import CLAIMS, VERDICTS
from tools import colab

NOTEBOOKS = Path(__file__).parents[1] / "notebooks"
TAUGHT = sorted(NOTEBOOKS.glob("*.ipynb"))
SOLVED = sorted((NOTEBOOKS / "solutions").glob("*.ipynb"))
LESSONS = {
    "02_speed": [f"L{number}" for number in range(1, 9)],
    "03_memory": ["L9", "L10", "L11"],
    "04_quality": ["L12", "L13", "L14", "L15"],
    "05_next_steps": ["L16", "L17", "L18"],
}
# The Diffusers page's own calls, as `ast.unparse` writes them.
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
    return read(path)


def code_cells(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def prose(notebook):
    return "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")


def outputs(notebook):
    return [output for cell in code_cells(notebook) for output in cell.outputs]


def printed(cell):
    return "".join(output.get("text", "") for output in cell.outputs)


def tags(cell):
    return cell.metadata.get("tags", [])


def test_every_notebook_has_its_solutions():
    assert [path.stem for path in TAUGHT] == [path.stem for path in SOLVED]
    assert [int(path.stem[:2]) for path in TAUGHT] == list(range(len(TAUGHT)))


@pytest.mark.parametrize("path", TAUGHT, ids=lambda path: path.stem)
def test_it_says_what_it_teaches_first_and_where_to_go_on_last(path):
    notebook = read(path)
    in_order = r"\A# .*What you'll do.*What you'll learn.*What you'll need"
    assert re.search(in_order, notebook.cells[0].source, re.DOTALL)
    titles = re.findall(r"^## (.+)$", prose(notebook), re.MULTILINE)
    assert titles[-3:] == ["On your own", "In practice", "Further reading"]


@pytest.mark.parametrize("stem", LESSONS)
def test_lessons_are_in_order_in_tags_and_headings(stem):
    notebook = read(NOTEBOOKS / f"{stem}.ipynb")
    lessons = [tag for cell in notebook.cells for tag in tags(cell) if re.fullmatch(r"L\d+", tag)]
    assert list(dict.fromkeys(lessons)) == LESSONS[stem]
    assert lessons == sorted(lessons, key=lambda lesson: int(lesson[1:]))
    assert re.findall(r"^## (L\d+) ", prose(notebook), re.MULTILINE) == LESSONS[stem]


@pytest.mark.parametrize("lesson", CLAIMS)
def test_every_claim_has_one_verdict_that_a_cell_printed(lesson):
    verdict = re.compile(rf"^{lesson} here: ({'|'.join(VERDICTS)}): .+", re.MULTILINE)
    texts = [printed(cell) for path in TAUGHT for cell in code_cells(read(path))]
    assert sum(bool(verdict.search(text)) for text in texts) == 1


@pytest.mark.parametrize("lesson", CALLS)
def test_a_reader_finds_the_call_of_the_page(lesson):
    cells = [cell for path in TAUGHT for cell in code_cells(read(path)) if lesson in tags(cell)]
    code = [ast.unparse(ast.parse(cell.source)) for cell in cells]
    assert any(re.search(CALLS[lesson], source) for source in code)


@pytest.mark.parametrize("stem", [path.stem for path in TAUGHT])
def test_exercises_wait_for_an_answer_and_the_solutions_have_one(stem):
    untouched, solved = (
        [printed(cell) for cell in code_cells(read(NOTEBOOKS / name)) if "exercise" in tags(cell)]
        for name in (f"{stem}.ipynb", f"solutions/{stem}.ipynb")
    )
    assert len(untouched) == len(solved) == 3
    assert [text for text in untouched if not re.search("^Not tried yet", text, re.M)] == []
    assert [text for text in solved if not re.search("^Right", text, re.M)] == []


def test_the_model_is_named_once_and_can_be_overridden(notebook):
    (cell,) = (cell for cell in code_cells(notebook) if "parameters" in tags(cell))
    assert cell is code_cells(notebook)[1]  # the first is for Colab
    assert 'model = os.environ.get("TUTORIAL_MODEL", "tiny-portraits")' in cell.source
    assert sum("tiny-portraits" in cell.source for cell in code_cells(notebook)[1:]) == 1


def test_the_first_cell_prepares_colab_and_is_silent(notebook):
    first = code_cells(notebook)[0]
    assert first.metadata.tags == ["colab"] and first.outputs == []
    assert first.source == colab.first_cell(colab.read_address())


class Unguarded(ast.NodeTransformer):
    """Leaves what a cell does itself, outside of functions and of `try`."""

    def visit_Try(self, node):
        return None

    visit_FunctionDef = visit_Try


def test_openvino_may_be_missing(notebook):
    for cell in code_cells(notebook):
        tree = Unguarded().visit(ast.parse(cell.source))
        assert "use_openvino(" not in ast.unparse(tree), cell.source


def test_it_was_run_from_top_to_bottom_without_an_error_or_a_warning(notebook):
    counts = [cell.execution_count for cell in code_cells(notebook)]
    assert counts == list(range(1, len(counts) + 1))
    kinds = {output.output_type for output in outputs(notebook)}
    assert kinds <= {"display_data", "execute_result", "stream"}
    streams = [output for output in outputs(notebook) if output.output_type == "stream"]
    assert [output.text for output in streams if output.name != "stdout"] == []


def test_every_picture_has_alt_text(notebook):
    for output in outputs(notebook):
        for kind in PICTURES & set(output.get("data", {})):
            assert len(output.metadata[kind]["alt"]) > 20


def test_a_fact_is_printed_beside_every_compared_image(notebook):
    for cell in code_cells(notebook):
        kinds = {output.output_type for output in cell.outputs}
        images = any("image/jpeg" in output.get("data", {}) for output in cell.outputs)
        if images and "nbval-ignore-output" not in tags(cell):
            assert kinds & {"stream", "execute_result"}, cell.source


def test_it_is_small_and_portable(path, notebook):
    assert path.stat().st_size <= 2 * MEGABYTE
    assert notebook.metadata.kernelspec.name == "python3"
    assert not any("execution" in cell.metadata for cell in notebook.cells)
    texts = [str(output.get("text") or output["data"].get("text/plain"))
             for output in outputs(notebook)]  # fmt: skip
    assert not re.search(r"(?<!\.)/models/", "".join(texts))  # a folder of one machine alone
    widgets = notebook.metadata.get("widgets", {})
    assert all("state" in widget for widget in widgets.values())
