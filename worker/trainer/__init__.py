"""Between supervisor and trainer process: messages, the ends of the pipes, inbox, log, and when to start it again."""
