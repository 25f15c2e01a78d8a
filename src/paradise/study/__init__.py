"""The study: the paper reproduced, from a preset to tables, claims and report. It stands on the library beside it."""
