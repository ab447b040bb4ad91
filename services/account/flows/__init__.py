"""What account can do, a file per feature."""
