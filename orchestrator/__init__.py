"""The queue and its readers: plan, store, command line, exports, plots. Never imports torch."""
