"""From typed options to runs: options, shapes, plan, sweep file, existing runs."""
