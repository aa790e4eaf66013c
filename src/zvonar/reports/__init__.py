"""Which sessions were there? Reports ask this of a ReportStore, whatever keeps the rows."""
