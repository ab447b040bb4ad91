"""Releases: how one is made, what it may ask of the databases, and that two of them run side by side."""
