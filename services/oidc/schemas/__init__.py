"""Shapes of what goes in and out of the issuer's API; no queries."""
