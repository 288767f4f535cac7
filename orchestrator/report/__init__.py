"""`hlbq report`: a sweep on one page.

contents.py  what the page says: figures, tables, verdicts, settings, provenance
page.py      the page itself: self-contained HTML that loads and runs nothing
"""
