"""How do others say it? One translator per wire dialect; none imports another."""
