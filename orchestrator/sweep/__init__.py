"""From what was typed to runs: options, shapes, plan, sweep file, runs that exist already."""
