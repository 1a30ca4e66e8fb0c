"""The simulator: the only place that knows LIBERO, robosuite and MuJoCo."""
