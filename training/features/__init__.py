"""Features beside a store: numbers for each sample, bound to the store and to what made them."""

from training.features._features import Features

__all__ = ["Features"]
