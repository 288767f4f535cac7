"""`hlbq dashboard`: sweeps, runs and workers as live pages in a browser, from the database alone.

    app.py           the routes: which address answers what
    answers.py       run and workers as JSON
    side_by_side.py  runs beside each other: what differs, code too
    run_values.py    a metric's value by run: last, best, at a step
    metric_names.py  the metrics and axes that a page may ask for
    log_tail.py      the end of a run's log
    control.py       cancel, retry, pause, priority; names, tags and notes: the store's own methods
    database.py      the database, opened to read, and reopened after it was away
    serving/         the server, its link and token, and which requests are answered
    watching/        what open pages are told as it changes: each sweep and its curves, read once for all pages
    static/          the pages; static/vendor has uPlot, which draws the curves

Starlette and uvicorn are the extra `dashboard`; app.py, serving/ and watching/feed.py alone import them.
"""
