"""From numbers to verdicts: tests and their families, effects, and rules that were declared before. Pure."""
