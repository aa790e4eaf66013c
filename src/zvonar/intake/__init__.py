"""How do lists of numbers come in? Read, judged, kept at once, and worked off in the background."""
