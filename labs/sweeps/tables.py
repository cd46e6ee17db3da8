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
        ValueError: two columns have one name, a row has more fields than there are columns, or a
            quote is not closed.
    """
    lines, rows = csv.DictReader(io.StringIO(text, newline=""), strict=True), []
    try:
        names = [name.strip() for name in lines.fieldnames or () if name.strip()]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"its first line names {twice[0]!r} twice.")
        for row in lines:
            if any(row.pop(None, [])):
                raise ValueError(
                    f"line {lines.line_num} has more fields than the first line has names. Put a "
                    "prompt with a comma in double quotes."
                )
            if cells := {name.strip(): _unquote(cell) for name, cell in row.items() if cell}:
                rows.append(cells)
    except csv.Error as error:
        raise ValueError(f"line {lines.reader.line_num}: {error}.") from error
    return rows


def write_csv(path: Path, table: pandas.DataFrame) -> None:
    """Write a table as CSV; text that a spreadsheet would compute gets an apostrophe before it."""
    cells = table.astype(object).fillna("").map(_quote)
    with replace_file(path) as file:
        cells.to_csv(file, index=False, lineterminator="\n")


def _quote(value: Any) -> Any:
    return f"'{value}" if isinstance(value, str) and FORMULA.match(value) else value


def _unquote(cell: str) -> str:
    return cell[1:] if cell[0] == "'" and FORMULA.match(cell) else cell
