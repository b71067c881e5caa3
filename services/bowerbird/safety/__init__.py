"""Safety: may this be drawn, and may this leave? Fail closed, one versioned policy, replayable decisions."""
