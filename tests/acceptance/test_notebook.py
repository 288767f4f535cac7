"""The notebook of docs/python.md is executed, cell by cell, as a notebook would: a cell's last expression is shown."""

import os
from pathlib import Path

from tests.child_program import run_child

ROOT = Path(__file__).parents[2]

EXECUTE = """
import ast, json, sys
from pathlib import Path

names = {}
for cell in json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))["cells"]:
    if cell["cell_type"] != "code":
        continue
    tree = ast.parse("".join(cell["source"]))
    last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
    exec(compile(tree, "cell", "exec"), names)
    if last is not None:
        shown = eval(compile(ast.Expression(last.value), "cell", "eval"), names)
        print((getattr(shown, "_repr_html_", None) or shown.__repr__)() or repr(shown))
"""


def test_every_cell_of_the_notebook_runs(tmp_path: Path) -> None:
    kept = {name: os.environ[name] for name in ("HOME", "HLBQ_CACHE", "OMP_NUM_THREADS") if name in os.environ}
    printed = run_child(EXECUTE, str(ROOT / "docs" / "python.ipynb"), folder=tmp_path, **kept)
    assert "8 completed" in printed and "<State.COMPLETED: 'completed'>: 10" in printed
    assert "num_heads 2 against num_heads 1" in printed
    assert "last_val_loss" in printed and "<Figure" in printed
