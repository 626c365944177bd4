"""Programs that print the figures the README quotes. Run them on a quiet machine."""
