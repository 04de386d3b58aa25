"""Services that have code of their own, each in a folder of its name."""
