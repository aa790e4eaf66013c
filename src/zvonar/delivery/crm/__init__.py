"""How do calls get into a company's own amoCRM? event → delivery → batch → card; never twice, never lost."""
