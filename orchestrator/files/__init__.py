"""Files of the queue: locks, files that are replaced as a whole, the state folder."""
