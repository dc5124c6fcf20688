"""An agent at play: one play loop, the returns of fresh episodes, reality beside a dream and its drawing."""
