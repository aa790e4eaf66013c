"""Which shape has the database? Alembic revisions; the SQL of each stands beside it."""
