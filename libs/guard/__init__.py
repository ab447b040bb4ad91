"""What stands between the suite and harm: limits, encryption, single-use tokens."""
