"""What does each method do? One room a subject; `table` has them all."""
