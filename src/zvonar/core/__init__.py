"""What does Zvonar decide, apart from any database, clock or line? Pure values in, decisions out."""
