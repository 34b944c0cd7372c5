"""One module for each `rosam` command."""
