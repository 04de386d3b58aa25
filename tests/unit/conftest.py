"""What holds for all unit tests.

Hypothesis is bounded: few examples but for make fuzz, and no deadline for a machine that is busy. None of what is
collected is garbage, so garbage is looked for only once the tests run, and among what they make.
"""

import gc

from hypothesis import settings

settings.register_profile("unit", max_examples=60, deadline=None)
settings.register_profile("fuzz", max_examples=10_000, deadline=None)
settings.load_profile("unit")
gc.disable()


def pytest_collection_finish() -> None:
    """Look for garbage from now on."""
    gc.freeze()
    gc.enable()
