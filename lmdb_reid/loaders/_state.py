"""What a loader's state must be to be loaded."""

from __future__ import annotations

from lmdb_reid.errors import UsageError

VERSION = 1
"""Of the states that this code writes and reads."""


def checked_state(state: object, seed: int) -> tuple[int, int]:
    """(epoch, samples) of a loader's state.

    Args:
        state: what `Loader.state_dict` returned, once.
        seed: of the loader that is to read it.

    Raises:
        UsageError: it is no such state, or one of another version or seed.
    """
    if not isinstance(state, dict) or "version" not in state:
        raise UsageError(f"the state must come from loader.state_dict(), got {str(state)[:80]}")
    if state["version"] != VERSION or type(state["version"]) is not int:
        raise UsageError(
            f"this state has version {state['version']!r}; this code reads version {VERSION}"
        )
    epoch, samples = state.get("epoch"), state.get("samples")
    if not (type(epoch) is int and type(samples) is int and min(epoch, samples) >= 0):
        raise UsageError(
            "the state must come from loader.state_dict(), got"
            f" epoch {epoch!r}, samples {samples!r}"
        )
    if state.get("seed") != seed:
        raise UsageError(
            f"this state belongs to another order: seed was {state.get('seed')}, is {seed}"
        )
    return epoch, samples
