"""A run: the loop, its folder, checkpoints, evaluation, and what is made of them."""
