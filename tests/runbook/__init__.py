"""docs/runbook.md, run as it is printed."""
