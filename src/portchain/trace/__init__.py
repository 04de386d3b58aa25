"""The chain from a host port to a container, read hop by hop: collect, parse, judge, render."""
