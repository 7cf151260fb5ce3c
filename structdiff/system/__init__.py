"""Services that all stages use: errors, files, locks, GPUs, progress, figure style, plugins."""
