"""What holds for all unit tests.

Hypothesis is bounded: few examples, and no deadline for a machine that is busy. What was collected is no garbage: tests
that ask for a collection of what they left look at that alone, and not at every test that there is.
"""

import gc

from hypothesis import settings

settings.register_profile("unit", max_examples=60, deadline=None)
settings.load_profile("unit")


def pytest_collection_finish() -> None:
    """Take all that is there out of the garbage collector's sight."""
    gc.freeze()
