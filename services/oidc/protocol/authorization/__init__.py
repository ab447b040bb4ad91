"""The authorization endpoint: one ordered list of checks, the interaction with the person, the answer."""
