"""secondsight: settle questions about sharing process memory with devices."""
