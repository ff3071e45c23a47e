"""What the site adds to Sphinx: typeset docstrings, the API reference, pages of the experiments, the map, KaTeX."""
