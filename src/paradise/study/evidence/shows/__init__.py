"""How the report shows each piece of evidence: modules with a function `show`. No torch here."""
