"""Sources of recorded and rendered drives behind one interface."""
