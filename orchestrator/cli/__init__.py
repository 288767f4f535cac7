"""The command line: a file a group, each of them parse, call, print."""
