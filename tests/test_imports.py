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
    return [name.split(".") for name in imported_names(path.read_text(encoding="utf-8"))]


def notebook_imports(path):
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    code = "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")
    return [name.split(".") for name in imported_names(code)]


def ids(path):
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", sorted(ROOT.glob("helpers/*.py")), ids=ids)
def test_the_core_imports_itself_and_third_party_packages_only(path):
    for top, *rest in imported_modules(path):
        assert top not in {"labs", "tools", "training", "tests"}
        assert top != "helpers" or rest[0] in CORE, f"{path.name} imports {'.'.join(rest)}"


@pytest.mark.parametrize("path", sorted(ROOT.glob("helpers/lessons/**/*.py")), ids=ids)
def test_lessons_import_the_core_only(path):
    assert not {top for top, *_ in imported_modules(path)} & {"labs", "tools", "training"}


@pytest.mark.parametrize("path", sorted(ROOT.glob("labs/*/**/*.py")), ids=ids)
def test_a_lab_imports_the_core_and_no_other_lab(path):
    own = path.relative_to(ROOT).parts[1]
    for top, *rest in imported_modules(path):
        assert top not in {"tools", "training", "tests"}
        assert top != "labs" or rest[0] in {own, SHARED_LAB}, f"{path} imports labs.{rest[0]}"


@pytest.mark.parametrize("path", sorted(ROOT.glob("training/*.py")), ids=ids)
def test_training_imports_no_lab(path):
    assert "labs" not in {top for top, *_ in imported_modules(path)}


def test_the_core_has_no_import_cycle():
    graph = {
        path.stem: {rest[0] for top, *rest in imported_modules(path) if top == "helpers"}
        for path in ROOT.glob("helpers/[!_]*.py")
    }
    while leaves := {module for module, needs in graph.items() if not needs & graph.keys()}:
        graph = {module: needs for module, needs in graph.items() if module not in leaves}
    assert not graph


@pytest.mark.parametrize("path", sorted(ROOT.glob("notebooks/0[0-4]*.ipynb")), ids=ids)
def test_part_one_needs_no_lab(path):
    assert not {top for top, *_ in notebook_imports(path)} & {"labs", "tools", "training"}


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
