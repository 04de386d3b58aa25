"""Draws chains and the machine they run through: for terminals, as Mermaid, as SVG and as a page. Pure."""
