"""`hlbq status`: how far everything is.

reading.py    the status as values, computed from the database
time_left.py  how long runs and sweeps will still take
text.py       the status as text for a terminal
live_view.py  a status that keeps itself up to date
screens.py    where that is shown: a terminal, or plain lines
drawing.py    the status drawn for a terminal of any size
"""
