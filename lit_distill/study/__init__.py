"""Studies: the stages in a row over several tasks, the teacher's evaluation, and the report."""
