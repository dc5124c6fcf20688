"""Ten checks of an agent and its run: what is measured, how it is drawn, and a page of both."""
