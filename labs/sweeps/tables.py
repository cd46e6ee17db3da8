"""Read and write CSV files of jobs and results, which spreadsheets open, too."""

from __future__ import annotations

import csv
import io
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from labs.images.settings import replace_file

if TYPE_CHECKING:
    import pandas

FORMULA = re.compile("'*[=+@\t\r-]")  # how a cell begins that a spreadsheet would compute


def read_csv(text: str) -> list[dict[str, str]]:
    """Read the rows of a CSV file by the names in its first line, without empty cells.

    An apostrophe that `write_csv` put before a formula is taken away.

    Raises:
        ValueError: there is no header, or a row has more fields than the header.
    """
    lines, rows = csv.DictReader(io.StringIO(text, newline=""), strict=True), []
    try:
        names = [name.strip() for name in lines.fieldnames or []]
        while names and not names[-1]:
            names.pop()
        if not names or len(set(names)) < len(names):
            raise ValueError("it needs a first line with the names of its columns.")
        lines.fieldnames = names
        for row in lines:
            if any(row.pop(None, [])):
                raise ValueError(
                    f"line {lines.line_num}: there are more fields than the {len(names)} that the "
                    "first line names. Put a prompt with a comma in double quotes."
                )
            if cells := {name: _unquote(cell) for name, cell in row.items() if cell}:
                rows.append(cells)
    except csv.Error as error:
        raise ValueError(f"line {lines.reader.line_num}: {error}.") from error
    return rows


def write_csv(path: Path, table: pandas.DataFrame) -> None:
    """Write a table as CSV; text that a spreadsheet would compute gets an apostrophe before it."""
    text, rows = io.StringIO(), table.astype(object).fillna("").to_numpy()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerows([table.columns, *([_quote(value) for value in row] for row in rows)])
    with replace_file(path) as file:
        file.write(text.getvalue().encode())


def _quote(value: Any) -> Any:
    return f"'{value}" if isinstance(value, str) and FORMULA.match(value) else value


def _unquote(cell: str) -> str:
    return cell[1:] if cell[0] == "'" and FORMULA.match(cell) else cell
