"""How does a queued number become a result? lease → place → dial → run script → record."""
