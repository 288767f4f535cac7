"""`hlbq status`: the progress of everything.

reading.py    the status as values, computed from the database
time_left.py  the time left of runs and sweeps, and the hours spent
text.py       the status as text for a terminal
live_view.py  a status that keeps itself up to date
screens.py    where it is shown: a terminal, or plain lines
drawing.py    the status drawn for a terminal of any size
"""
