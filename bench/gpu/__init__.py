"""A search breadth first on a CUDA card: see bench/README.md, and `python -m bench.gpu --help`."""
