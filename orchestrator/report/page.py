"""A report as one HTML page: no scripts, no external files, every text escaped."""

import re
from collections.abc import Sequence
from html import escape

from orchestrator.comparison.judging.contrasts import Verdict
from orchestrator.report.contents import FigurePart, Report, ReportSection
from orchestrator.wording.tables import TextTable

# The page must load and run nothing, whatever a name in it contains.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'"

_LONGEST_UNBROKEN = 48
_NUMBER = re.compile(r"[-+<]?[\d.,]+(e[-+]?\d+)?[KMB]?|-?nan|-?inf")
_VERDICTS = frozenset(verdict.value for verdict in Verdict if verdict is not Verdict.UNDECIDED)

_STYLE = """
:root { color-scheme: light dark; --text: #1c1c1c; --faint: #666; --line: #ddd; --page: #fff; --stripe: #f6f6f6; }
@media (prefers-color-scheme: dark) {
  :root { --text: #e6e6e6; --faint: #a0a0a0; --line: #3a3a3a; --page: #16181b; --stripe: #1e2125; }
}
body { font: 15px/1.5 system-ui, sans-serif; color: var(--text); background: var(--page);
       max-width: 74rem; margin: 0 auto; padding: 1.5rem; }
h1 { font-size: 1.6rem; margin: 0; overflow-wrap: anywhere; }
h2 { font-size: 1.15rem; margin: 2.2rem 0 .6rem; }
h3, caption { font-size: .95rem; font-weight: 600; text-align: left; }
.summary, figcaption { color: var(--faint); }
p { max-width: 60rem; margin: .35rem 0; white-space: pre-line; overflow-wrap: anywhere; }
.figures { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(27rem, 100%), 1fr)); gap: 1rem; }
figure { margin: 0; border: 1px solid var(--line); border-radius: 6px; padding: .6rem; background: #fff;
         overflow-x: auto; }
figure.wide { grid-column: 1 / -1; }
figure svg { width: 100%; min-width: 25rem; height: auto; display: block; }
figure.wide svg { min-width: 44rem; }
figcaption { color: #555; font-size: .85rem; padding: .2rem 0 .5rem; position: sticky; left: 0; }
figcaption span { display: block; font-size: .9em; }
.table { overflow-x: auto; margin: .6rem 0 1rem; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: .85rem; }
th, td { text-align: left; padding: .2rem .7rem .2rem 0; border-bottom: 1px solid var(--line); vertical-align: top; }
th, td { white-space: nowrap; }
.number { text-align: right; }
td.long { white-space: normal; overflow-wrap: anywhere; min-width: 16rem; }
.word { font-weight: 600; }
.details { columns: 24rem; column-gap: 2rem; padding: 0; margin: .6rem 0; list-style: none; font-size: .85rem; }
.details li { break-inside: avoid; padding: .1rem 0; }
tbody tr:nth-child(even) { background: var(--stripe); }
@media print {
  :root { --text: #000; --faint: #444; --line: #bbb; --page: #fff; --stripe: #fff; }
  body { max-width: none; padding: 0; font-size: 10pt; }
  figure, tr { break-inside: avoid; }
  h2, caption, thead { break-after: avoid; }
  .table, figure { overflow: visible; }
  .figures { grid-template-columns: 1fr 1fr; }
  figure svg, figure.wide svg { min-width: 0; }
  table { font-size: 7.5pt; }
  th, td { white-space: normal; padding-right: .5rem; }
}
"""


def page(report: Report) -> str:
    """The whole page as text."""
    title = escape(report.title)
    parts = [
        "<!DOCTYPE html>",
        '<html lang="en"><head><meta charset="utf-8">',
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>{title}</title><style>{_STYLE}</style></head><body>",
        f'<h1>{title}</h1><p class="summary">{escape(report.summary)}</p>',
        *(_section(section) for section in report.sections),
        "</body></html>\n",
    ]
    return "\n".join(parts)


def _section(section: ReportSection) -> str:
    parts = [f"<section><h2>{escape(section.heading)}</h2>"]
    parts += [f"<p>{escape(text)}</p>" for text in section.paragraphs]
    if section.figures:
        parts.append(f'<div class="figures">{_figures(section.figures)}</div>')
    parts += [html_table(table) for table in section.tables]
    if section.details:
        parts.append(f'<ul class="details">{"".join(f"<li>{escape(text)}</li>" for text in section.details)}</ul>')
    return "\n".join([*parts, "</section>"])


def _figures(figures: Sequence[FigurePart]) -> str:
    found = []
    for number, figure in enumerate(figures):
        caption = escape(figure.caption)
        # Every figure numbers its shapes from one, but names must be unique in a page.
        svg = _own_names(figure.svg, f"f{number}-").replace("<svg ", f'<svg role="img" aria-label="{caption}" ', 1)
        notes = "".join(f"<span>{escape(note)}</span>" for note in figure.notes)
        opening = '<figure class="wide">' if figure.is_wide else "<figure>"
        found.append(f"{opening}<figcaption>{caption}{notes}</figcaption>{svg}</figure>")
    return "\n".join(found)


def _own_names(svg: str, prefix: str) -> str:
    for before in (' id="', ' xlink:href="#', "url(#"):
        svg = svg.replace(before, f"{before}{prefix}")
    return svg


def html_table(table: TextTable) -> str:
    """A table as HTML, every text escaped."""
    caption = f"<caption>{escape(table.title)}</caption>" if table.title else ""
    columns = list(zip(*table.rows, strict=True)) or [()] * len(table.headers)
    are_numbers = [_are_numbers(column) for column in columns]
    head = "".join(
        f'<th class="number">{escape(header)}</th>' if is_number else f"<th>{escape(header)}</th>"
        for header, is_number in zip(table.headers, are_numbers, strict=True)
    )
    rows = "\n".join(f"<tr>{''.join(map(_cell, row, are_numbers))}</tr>" for row in table.rows)
    return f'<div class="table"><table>{caption}<thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>'


def _are_numbers(column: Sequence[str]) -> bool:
    return any(column) and all(not text or _NUMBER.fullmatch(text) for text in column)


def _cell(text: str, is_number: bool) -> str:
    """A cell; numbers are right-aligned, verdicts highlighted, and only long texts are wrapped."""
    css_class = "number" if is_number else "long" if len(text) > _LONGEST_UNBROKEN else ""
    if text in _VERDICTS:
        css_class = "word"
    return f'<td class="{css_class}">{escape(text)}</td>' if css_class else f"<td>{escape(text)}</td>"
