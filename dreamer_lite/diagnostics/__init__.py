"""Ten checks of an agent and its run: what they measure, how it is drawn, and a page with both."""
