"""What the repository's files import."""

import ast
import json
import re


def imported(path):
    """The dotted names, as lists, of all that a Python file or a notebook imports anywhere."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".ipynb":
        cells = json.loads(text)["cells"]
        text = "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")
        text = re.sub(r"^\s*[%!].*$", "", text, flags=re.MULTILINE)
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".") for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            yield from ([*node.module.split("."), alias.name] for alias in node.names)
