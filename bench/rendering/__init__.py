"""A team at work, as a GIF: particles drawn from their state, bodies rendered by MuJoCo."""
