"""The issuer's answers to machines: checks, grants, tokens, keys. It may call flows, never the reverse."""
