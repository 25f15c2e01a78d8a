"""The pieces of evidence: each a module with an `EVIDENCE`, found by its file's name. No torch here."""
