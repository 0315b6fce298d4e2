"""The online service: one published release, queries over HTTP, a web page."""
