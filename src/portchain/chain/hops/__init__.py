"""One function a hop: what was seen there, and what is wrong with it. Pure."""
