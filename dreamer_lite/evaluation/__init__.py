"""An agent at play: the play loop, returns of fresh episodes, and reality beside a dream, also drawn."""
