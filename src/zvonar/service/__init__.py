"""How do the parts become a running service? The only place that wires them."""
