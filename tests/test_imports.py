"""Who may import whom: the core stands alone, a lab imports the core and labs/images."""

import subprocess
import sys
from pathlib import Path

import pytest
from sources import imported

ROOT = Path(__file__).parents[1]
OTHERS = {"labs", "tools", "training", "tests"}


@pytest.mark.parametrize(
    ("pattern", "forbidden"),
    [
        ("helpers/**/*.py", OTHERS),
        ("notebooks/**/0[0-5]*.ipynb", OTHERS),
        ("labs/**/*.py", OTHERS - {"labs"}),
        ("training/*.py", {"labs"}),
    ],
)
def test_the_core_and_part_one_need_no_lab_and_a_lab_no_tools(pattern, forbidden):
    for path in ROOT.glob(pattern):
        assert not {top for top, *_ in imported(path)} & forbidden, path


def test_labs_import_no_other_lab_but_images_which_is_what_they_share():
    for path in ROOT.glob("labs/*/**/*.py"):
        labs = {rest[0] for top, *rest in imported(path) if top == "labs"}
        assert labs <= {path.relative_to(ROOT).parts[1], "images"}, path


def test_the_core_imports_no_lessons_and_has_no_cycle():
    graph = {
        path.stem: {rest[0] for top, *rest in imported(path) if top == "helpers"}
        for path in ROOT.glob("helpers/[!_]*.py")
    }
    assert set().union(*graph.values()) <= graph.keys()
    while leaves := {module for module, needs in graph.items() if not needs & graph.keys()}:
        graph = {module: needs for module, needs in graph.items() if module not in leaves}
    assert not graph


def test_importing_the_helpers_changes_nothing_in_the_process():
    code = (
        "import gc, torch, sys;"
        "before = gc.get_threshold(), torch.get_num_threads();"
        "import helpers;"
        "assert before == (gc.get_threshold(), torch.get_num_threads());"
        "print(*{name.split('.')[0] for name in sys.modules})"
    )
    command = [sys.executable, "-c", code]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert not {"labs", "peft", "matplotlib", "pandas", "openvino"} & set(result.stdout.split())
