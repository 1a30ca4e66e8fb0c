"""A trained student as a folder that runs without torch: the graph, the check, the model card."""
