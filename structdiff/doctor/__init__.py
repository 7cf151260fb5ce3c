"""``structdiff doctor``: facts about a machine, and checks of whether a run works on it."""
