"""What onboarding can do, a file per feature; states.py and links.py are what the others stand on."""
