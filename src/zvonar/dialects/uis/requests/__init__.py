"""What did a UIS client send? JSON, then the envelope, then a method's parameters, each with its own errors."""
