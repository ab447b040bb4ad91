"""What is deployed, held against the code: Kubernetes manifests, compose file, and what they promise each other."""
