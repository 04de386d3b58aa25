"""Hypothesis, bounded: few examples, and no deadline for a machine that is busy."""

from hypothesis import settings

settings.register_profile("unit", max_examples=60, deadline=None)
settings.load_profile("unit")
