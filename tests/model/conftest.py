"""Hypothesis profiles: ``ci`` always runs the same examples, ``soak`` new ones for long.

``HYPOTHESIS_PROFILE=soak`` chooses; ``HYPOTHESIS_EXAMPLES`` says how many examples it runs.
"""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

_SLOW_IS_FINE = (HealthCheck.too_slow, HealthCheck.filter_too_much)

settings.register_profile(
    "ci",
    derandomize=True,
    deadline=None,
    max_examples=500,
    stateful_step_count=40,
    suppress_health_check=_SLOW_IS_FINE,
)
settings.register_profile(
    "soak",
    deadline=None,
    max_examples=int(os.environ.get("HYPOTHESIS_EXAMPLES", "20000")),
    stateful_step_count=60,
    suppress_health_check=_SLOW_IS_FINE,
    print_blob=True,
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))
