"""`hlbq status`: the progress of everything."""
