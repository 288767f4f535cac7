"""A worker's exit codes: those of hlbq, and one for a bug in the program itself."""

EXIT_FINE, EXIT_FAILED, EXIT_USAGE, EXIT_INTERRUPTED = 0, 1, 2, 130
# As in sysexits.h: told apart from a run that failed, so that a pool starts such a worker again.
EXIT_FAULT = 70
