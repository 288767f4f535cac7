"""Opening a database: where it is, how to connect, whether it is hlbq's and the same one, and its schema."""
