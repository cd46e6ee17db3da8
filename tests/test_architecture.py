"""Which module knows what: data flows one way, and importing the helpers is light."""

import ast
import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest

import helpers

FOLDER = Path(helpers.__file__).parent
ROOT = FOLDER.parent
MODULES = {
    ".".join(path.relative_to(FOLDER).with_suffix("").parts): path
    for path in sorted(FOLDER.rglob("*.py"))
    if path.name != "__init__.py"
}
# load -> make inputs -> measure -> show: a module imports only those it is given here, of a room
# ("forecast") any module.
FLOW = {
    "models": set(),
    "hub": {"models"},
    "changes": {"hub", "models"},
    "forecast.shapes": {"models"},
    "forecast.storages": set(),
    "pictures.weights": set(),
    "pictures.labels": set(),
    "fast.torchao": set(),
    "loading": {"changes", "fast.torchao", "forecast.shapes", "hub", "models", "pictures.weights"},
    "inputs": set(),
    "timing": set(),
    "grids": {"pictures.labels"},
    "judge": {"hub", "loading", "models"},
    "memory": {"forecast.storages", "loading"},
    "fast": {"hub"},
    "forecast": {"loading", "memory", "models", "timing"},
    "lessons": {
        "forecast",
        "grids",
        "inputs",
        "judge",
        "memory",
        "pictures.settings",
        "sweeps.jobs",
        "timing",
    },
    "pictures": {"changes", "grids", "hub", "inputs", "models", "timing"},
    "sweeps": {"changes", "hub", "inputs", "judge", "loading", "memory", "models", "pictures"},
    "widgets": {"pictures"},
}
HEAVY = {"accelerate", "diffusers", "matplotlib", "openvino", "pandas", "transformers"}
LINES, ALL_LINES = 400, 1700  # of a file, and of those that a reader meets first: helpers/*.py


def imports(path, everywhere=True):
    """The names a module imports when it runs; those for type checkers only do not count."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
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


def packages(path, everywhere=True):
    return {name.split(".")[0] for name in imports(path, everywhere)}


def known_to(module):
    """The rooms and modules that a module may import, its own room among them."""
    room = module.split(".")[0]
    return FLOW.get(module, FLOW.get(room, set())) | ({room} - {module})


@pytest.mark.parametrize("module", MODULES)
def test_data_flows_one_way(module):
    for name in imports(MODULES[module]):
        if name.startswith("helpers."):
            names = name.split(".")[1:]
            assert {names[0], ".".join(names[:2])} & known_to(module), f"{module} imports {name}"


@pytest.mark.parametrize("path", sorted(FOLDER.rglob("*.py")), ids=str)
def test_helpers_never_import_training_or_tools(path):
    assert not packages(path) & {"training", "tools"}


def test_the_ground_floor_is_thin():
    lines = {path.name: path.read_text().count("\n") for path in FOLDER.glob("*.py")}
    assert sum(lines.values()) <= ALL_LINES, lines


@pytest.mark.parametrize("path", sorted([*FOLDER.rglob("*.py"), *ROOT.glob("tools/*.py")]), ids=str)
def test_no_file_is_long(path):
    assert path.read_text(encoding="utf-8").count("\n") <= LINES


def test_grids_knows_pillow_only():
    beyond = packages(MODULES["grids"]) - set(sys.stdlib_module_names)
    assert beyond == {"PIL", "IPython", "helpers"}
    assert "IPython" not in packages(MODULES["grids"], everywhere=False)


def test_colab_needs_nothing_but_python():
    assert packages(ROOT / "tools" / "colab.py") <= set(sys.stdlib_module_names)


def test_timing_knows_nothing_of_diffusers():
    beyond = packages(MODULES["timing"]) - set(sys.stdlib_module_names)
    assert beyond == {"torch", "tqdm", "pandas"}


@pytest.mark.parametrize("module", MODULES)
def test_heavy_packages_are_imported_where_they_are_used(module):
    assert not packages(MODULES[module], everywhere=False) & HEAVY


def test_importing_the_helpers_is_light():
    code = "import sys, helpers; print(*{name.split('.')[0] for name in sys.modules})"
    command = [sys.executable, "-c", code]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
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
    tree = ast.parse(MODULES[module].read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            body = node.body[1:] if ast.get_docstring(node) else node.body
            lines = body[-1].end_lineno - body[0].lineno + 1 if body else 0
            assert lines <= 45, f"{module}.{node.name} fits no screen: {lines} lines"


def test_no_file_names_a_folder_of_somebodys_machine():
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True)
    if listed.returncode:
        pytest.skip("this is no clone, so there is no list of files")
    place = re.compile(r"(?<![\w./])/(home|root|work|Users|tmp|opt|mnt)/\w|\b[A-Z]:\\\\?Users")
    for name in listed.stdout.splitlines():
        path = ROOT / name
        if path.suffix in {".json", ".py", ".toml", ".yml", ".md", ".txt", ".ipynb"}:
            found = [line for line in path.read_text(encoding="utf-8").splitlines()
                     if place.search(line)]  # fmt: skip
            assert not found, name
