"""Networks trained by Equilibrium Propagation: dynamics, learning, attacks, and the book's results."""

__version__ = "0.1.0"
