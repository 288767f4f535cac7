"""`hlbq dashboard`: sweeps, runs and workers as live pages in a browser, from the database alone.

    server.py        binds, prints the link, serves until interrupted
    app.py           the routes: which address answers what
    security.py      which requests are answered: Host, Origin, token; what a page may load
    patience.py      closes the connections of clients that are too slow
    token_file.py    the link's token, kept between starts
    database.py      the database, opened to read, and reopened after it was away
    feed.py          one refresh a second for all open pages, and the stream that tells them
    sweep_watch.py   a sweep's runs as last seen, and which of them changed since
    answers.py       overview, run and workers as JSON
    side_by_side.py  runs beside each other: what differs, code too
    control.py       cancel, retry, pause, priority; names, tags and notes: the store's own methods
    sweep_curves.py  curves of a sweep: read once, then only what is new
    arm_means.py     mean and band of an arm's runs, kept up to date
    run_values.py    a metric's value by run: last, best, at a step
    thinning.py      fewer points that look the same
    metric_names.py  the metrics and axes that a page may ask for
    log_tail.py      the end of a run's log
    static/          the pages; static/vendor has uPlot, which draws the curves

Starlette and uvicorn are the extra `dashboard`; they are imported by app.py, feed.py,
patience.py and server.py alone.
"""
