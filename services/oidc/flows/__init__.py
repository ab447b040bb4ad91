"""What oidc can do for people and staff; each flow is one transaction."""
