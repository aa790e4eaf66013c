"""How do others learn what happened? event → deliveries → POST, until each is taken or dead."""
