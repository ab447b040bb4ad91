"""Platform plumbing that every service needs and none alone owns."""
