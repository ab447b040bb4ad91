"""Backups of the four databases: made, checked, restored. docs/decisions/0031 says why they are as they are."""
