"""What does Zvonar remember? PostgreSQL, one module per noun."""
