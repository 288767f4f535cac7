"""Between supervisor and trainer process: messages, both ends of the pipes, the log, and when to start it again."""
