"""What notification can do."""
