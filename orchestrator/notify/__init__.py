"""`--notify CMD`: the user's command, called when a run fails or a sweep ends.

commands.py    the commands, in the user's own files: the database never holds one
message.py     what the command reads on its standard input
running.py     one call of a command, with a limit
delivering.py  delivers waiting notices one by one: `hlbq notify`
side.py        starts `hlbq notify` for a worker, a cancel or a run
"""
