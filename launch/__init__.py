"""The command line: compose and run, nothing else."""
