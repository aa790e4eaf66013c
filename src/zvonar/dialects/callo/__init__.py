"""How do Callo's clients (and those of its sister brands) add calls and read results here?"""
