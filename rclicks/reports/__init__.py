"""Output of results: figures, tables in several formats, and HTML reports."""
