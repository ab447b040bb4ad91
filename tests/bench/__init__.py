"""What is promised in seconds and megabytes; run by make bench, never beside other tests."""
