"""How does the autocall service say it? Campaigns are *autocalls* here; a callback reports every change."""
