"""How fast is Zvonar, and how much does it take? Each figure stands beside a baseline of the same run."""
