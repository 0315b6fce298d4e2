"""Batch side of artkin: a collection and a model become a release that the service serves."""
