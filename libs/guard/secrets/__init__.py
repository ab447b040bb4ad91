"""Secrets as settings: what makes them good, how fresh ones are made, and how two processes compare theirs."""
