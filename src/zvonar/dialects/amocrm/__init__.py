"""How do clients of amoCRM (Kommo) log calls into cards here? REST with HAL under /api/v4, and OAuth2."""
