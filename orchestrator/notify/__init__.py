"""`--notify CMD`: the user's command, called when a run fails or a sweep ends."""
