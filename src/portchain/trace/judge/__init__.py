"""Judge each hop of a chain and give the verdict. Pure."""
