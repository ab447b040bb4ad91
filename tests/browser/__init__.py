"""In a real browser: Chromium, as a person sees it."""
