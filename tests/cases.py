"""How many random cases a test runs, and which.

In `make test` a test always runs the same cases. ``LSTMC_CASES=10000`` runs that many of each test,
with a random seed, which is printed at the end; ``LSTMC_SEED`` repeats it. Hypothesis
shrinks a failure and prints the code that reproduces it; put that into the test as an
``@hypothesis.example``, where it stays.
"""

import os

import hypothesis

COUNT = int(os.environ.get("LSTMC_CASES", "0"))
LARGEST_SEED = 2**32 - 1


def settings(examples: int) -> hypothesis.settings:
    """For a test that runs ``examples`` cases in `make test`."""
    return hypothesis.settings(
        max_examples=COUNT or examples,
        deadline=None,
        derandomize=not COUNT,
        database=None,
        print_blob=True,
        suppress_health_check=list(hypothesis.HealthCheck),
    )
