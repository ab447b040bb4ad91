"""Processes are really killed, servers really stopped; what was acknowledged must be there afterwards."""

POISON = "poison"
"""How the key of an event begins that kills whoever handles it."""
