"""Teachers: `base` says what a teacher is; one module for each."""
