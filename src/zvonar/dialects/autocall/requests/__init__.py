"""What came in? Each module reads one kind of request into core terms, or says everything that is wrong."""
