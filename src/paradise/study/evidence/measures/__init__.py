"""How each piece of evidence is measured: modules with a function `measure`."""
