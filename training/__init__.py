"""Offline side of artkin: a collection becomes an evaluated embedding model."""
