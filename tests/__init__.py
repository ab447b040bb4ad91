"""Tests speak at the edges: HTTP, command, event, task, browser; on real servers."""
