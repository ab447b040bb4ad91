"""Shapes of what comes in and goes out: of pages (forms.py), and of the API by the thing that it is about."""
