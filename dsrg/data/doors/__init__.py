"""The doors of `dsrg prepare-data`: what other tools export, told apart by content, one tool a file."""
