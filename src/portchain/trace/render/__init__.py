"""Render chains and the machine: for terminals, as Mermaid, as SVG and as an HTML page. Pure."""
