"""`--notify CMD`: a command of the user's that is told when a run fails or a sweep ends.

commands.py    the commands, in files of their user's own: the database never holds one
message.py     what the command reads on its standard input
running.py     one call of a command, with a limit
delivering.py  tells what waits, notice by notice: `hlbq notify`
side.py        has a `hlbq notify` at work beside a worker, a cancel, a run
"""
