"""Which module knows what: data flows one way, and importing the helpers is light."""

import ast
import inspect
import subprocess
import sys
from pathlib import Path

import pytest

import helpers

FOLDER = Path(helpers.__file__).parent
MODULES = sorted(path.stem for path in FOLDER.glob("*.py") if path.stem != "__init__")
# load -> make inputs -> measure -> show: a module imports only those it is given here.
FLOW = {
    "hub": set(),
    "convert": set(),
    "loading": {"hub"},
    "inputs": set(),
    "timing": set(),
    "grids": {"loading", "inputs"},
    "judge": {"hub", "loading"},
    "memory": {"loading"},
    "colab": set(),
    "published": set(),
    "benchmark": set(),
    "exercises": {"grids", "inputs", "judge", "memory"},
    "settings": set(),
    "drawing": {"loading", "inputs", "timing", "settings"},
    "widgets": {"drawing", "settings"},
}
HEAVY = {"accelerate", "diffusers", "matplotlib", "openvino", "pandas", "transformers"}


def imports(module, everywhere=True):
    """The names a module imports when it runs; those for type checkers only do not count."""
    tree = ast.parse((FOLDER / f"{module}.py").read_text(encoding="utf-8"))
    names = set()
    todo = list(tree.body)
    while todo:
        node = todo.pop()
        if isinstance(node, ast.If) and getattr(node.test, "id", "") == "TYPE_CHECKING":
            continue
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
        if everywhere or not isinstance(node, ast.FunctionDef):
            todo.extend(ast.iter_child_nodes(node))
    return names


def packages(module, everywhere=True):
    return {name.split(".")[0] for name in imports(module, everywhere)}


@pytest.mark.parametrize("module", MODULES)
def test_data_flows_one_way(module):
    ours = {name.split(".")[1] for name in imports(module) if name.startswith("helpers.")}
    assert ours <= FLOW[module]


@pytest.mark.parametrize("module", [*MODULES, "__init__"])
def test_helpers_never_import_training(module):
    assert "training" not in packages(module)


def test_grids_knows_pillow_only():
    beyond = packages("grids") - set(sys.stdlib_module_names)
    assert beyond == {"PIL", "IPython", "helpers"}
    assert "IPython" not in packages("grids", everywhere=False)


def test_colab_needs_nothing_but_python():
    assert packages("colab") <= set(sys.stdlib_module_names)


def test_timing_knows_nothing_of_diffusers():
    beyond = packages("timing") - set(sys.stdlib_module_names)
    assert beyond == {"torch", "tqdm", "pandas", "matplotlib"}


@pytest.mark.parametrize("module", MODULES)
def test_heavy_packages_are_imported_where_they_are_used(module):
    assert not packages(module, everywhere=False) & HEAVY


def test_importing_the_helpers_is_light():
    code = "import sys, helpers; print(*{name.split('.')[0] for name in sys.modules})"
    command = [sys.executable, "-c", code]
    result = subprocess.run(command, cwd=FOLDER.parent, capture_output=True, text=True, check=True)
    assert "helpers" in result.stdout.split()
    assert not HEAVY & set(result.stdout.split())


def test_every_public_function_is_reexported_and_has_an_example():
    for name in helpers.__all__:
        thing = getattr(helpers, name)
        if inspect.isfunction(thing) or inspect.isclass(thing):
            assert thing.__module__.startswith("helpers.")
            assert ">>>" in inspect.getdoc(thing), f"{name} has no example"
    assert list(helpers.__all__) == sorted(helpers.__all__, key=sort_key)


def sort_key(name):
    """CONSTANTS, then Classes, then functions: the order that ruff keeps."""
    return (not name.isupper(), not name[0].isupper(), name)


@pytest.mark.parametrize("module", MODULES)
def test_helpers_are_short(module):
    tree = ast.parse((FOLDER / f"{module}.py").read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            body = node.body[1:] if ast.get_docstring(node) else node.body
            lines = body[-1].end_lineno - body[0].lineno + 1 if body else 0
            assert lines <= 45, f"{module}.{node.name} fits no screen: {lines} lines"
