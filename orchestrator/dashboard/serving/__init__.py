"""The web server: who may ask, what it costs to ask slowly, the link and its token."""
