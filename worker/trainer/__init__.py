"""The supervisor's side of its trainer process: the messages, the process, its log, and when to start it again."""
