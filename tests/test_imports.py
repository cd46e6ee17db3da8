"""Who may import whom: the core stands alone, a lab imports the core, nothing imports a lab."""

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
CORE = {path.stem for path in ROOT.glob("helpers/*.py")}
SHARED_LAB = "images"  # the settings of an image and its PNG, which several labs need


def imported_names(source):
    """Every module, or name of a module, that a piece of Python code imports anywhere."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def imported_modules(path):
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".ipynb":
        cells = json.loads(text)["cells"]
        text = "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")
    return [name.split(".") for name in imported_names(text)]


def ids(path):
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", sorted(ROOT.glob("helpers/*.py")), ids=ids)
def test_the_core_imports_itself_and_third_party_packages_only(path):
    for top, *rest in imported_modules(path):
        assert top not in {"labs", "tools", "training", "tests"}
        assert top != "helpers" or rest[0] in CORE, f"{path.name} imports {'.'.join(rest)}"


@pytest.mark.parametrize(
    ("pattern", "others"),
    [
        ("helpers/lessons/**/*.py", {"labs", "tools", "training"}),
        ("notebooks/0[0-4]*.ipynb", {"labs", "tools", "training"}),
        ("training/*.py", {"labs"}),
    ],
)
def test_lessons_and_part_one_need_no_lab_and_training_neither(pattern, others):
    for path in ROOT.glob(pattern):
        assert not {top for top, *_ in imported_modules(path)} & others, path


@pytest.mark.parametrize("path", sorted(ROOT.glob("labs/*/**/*.py")), ids=ids)
def test_a_lab_imports_the_core_and_no_other_lab(path):
    own = path.relative_to(ROOT).parts[1]
    for top, *rest in imported_modules(path):
        assert top not in {"tools", "training", "tests"}
        assert top != "labs" or rest[0] in {own, SHARED_LAB}, f"{path} imports labs.{rest[0]}"


def test_the_core_has_no_import_cycle():
    graph = {
        path.stem: {rest[0] for top, *rest in imported_modules(path) if top == "helpers"}
        for path in ROOT.glob("helpers/[!_]*.py")
    }
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
