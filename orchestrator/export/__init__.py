"""`hlbq export`: the database as tables, and reading such tables.

columns.py        the columns of the two tables: one row per run, or one per point
blocks.py         from the store to rows, a few runs at a time
cells.py          a value as a cell of a CSV, and back
table_formats.py  csv, jsonl, parquet
metric_names.py   a metric by its name, and the axes of curves
writing.py        the exports themselves, appending, and the CSV that `-c` keeps up to date
csv_table.py      reading and extending such a CSV
replaced_table.py which files a table may replace
frames.py         tables as pandas data frames: `orchestrator.load`
"""
