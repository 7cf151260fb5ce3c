"""What every stage needs from the machine: errors, files, locks, GPUs, progress, figures."""
