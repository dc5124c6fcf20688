"""What only this notebook uses: its exercises, and its figures and widgets."""
