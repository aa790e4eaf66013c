"""What a script sees of a telephone line, and the engines behind it."""
