"""Waiting for a condition, never for a time."""

import time

# How long anything may take before a test calls it stuck. Generous on purpose: a slow machine is not a failure.
PATIENCE_S = 60.0


def wait_until(condition, what: str, timeout_s: float = PATIENCE_S, poll_s: float = 0.05):
    """Returns the first true value of `condition()`; says what it last saw when that never comes."""
    deadline = time.monotonic() + timeout_s
    while True:
        last = condition()
        if last:
            return last
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {timeout_s:.0f} s for {what}; last seen: {last!r}")
        time.sleep(poll_s)
