"""The supervisor's side of its trainer process: the messages, the process, its log, when it is started again."""
