"""What came in, in our own terms?"""
