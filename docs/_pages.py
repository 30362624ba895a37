"""What the programs in docs share: rows of CSV files, and tables in pages."""

import csv
import re


def rows_of(path):
    """Return the rows of a CSV file; none if there is no file."""
    if not path.exists():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return [*csv.DictReader(file)]


def write_rows(path, rows):
    """Write a CSV file with the columns of the first row."""
    path.unlink(missing_ok=True)
    append_rows(path, rows[0], rows)


def append_rows(path, columns, rows):
    """Append rows to a CSV file, which begins with its columns."""
    is_new = not path.exists()
    with path.open("a", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns, lineterminator="\n")
        if is_new:
            writer.writeheader()
        writer.writerows(rows)


def with_tables(text, tables):
    """Return the text of a page with tables put between `<!-- name -->` and `<!-- end -->`."""
    for name, table in tables.items():
        new = f"<!-- {name} -->\n\n{table}\n<!-- end -->"
        text = re.sub(f"<!-- {name} -->.*?<!-- end -->", lambda _, new=new: new, text, flags=re.S)
    return text
