"""How do clients of the UIS Data API (CoMagic, Novofon) read reports here? JSON-RPC 2.0 on one path."""
