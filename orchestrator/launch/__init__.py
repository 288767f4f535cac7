"""Starting workers on machines that an engine hands out: the engine places them, the database stays the queue."""
