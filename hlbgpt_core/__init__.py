"""The core: settings, data, recipes and the trainer. Knows no database and no queue."""
