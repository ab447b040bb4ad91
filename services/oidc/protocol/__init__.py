"""The issuer's answers to machines: authorization checks, grants, tokens, keys. It may call flows, never the reverse."""
