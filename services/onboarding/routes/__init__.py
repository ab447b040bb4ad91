"""Doors for browsers, a file per flow."""
