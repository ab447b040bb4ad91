"""Processes are really killed, servers really stopped; what was acknowledged must be there afterwards."""
