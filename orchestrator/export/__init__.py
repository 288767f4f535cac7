"""`hlbq export`: what the database holds as tables, and such tables read again.

columns.py        the columns of the two tables: a row a run, a row a point
blocks.py         from the store to rows, a few runs at a time
cells.py          a value as a cell of a CSV, and back
table_formats.py  csv, jsonl, parquet
file_writing.py   a file that nobody ever reads half of
writing.py        the exports themselves, appending, and the CSV that `-c` keeps up to date
csv_table.py      reading and extending such a CSV
frames.py         tables as pandas data frames: `orchestrator.load`
"""

from orchestrator.export.blocks import Layout, Selection
from orchestrator.export.columns import csv_columns
from orchestrator.export.writing import export, export_to_stdout, rewrite_sweep_csv

__all__ = ["Layout", "Selection", "csv_columns", "export", "export_to_stdout", "rewrite_sweep_csv"]
