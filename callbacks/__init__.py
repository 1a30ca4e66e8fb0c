"""Lightning callbacks: whatever touches the world (disk, devices, the simulator) during fit and test."""
