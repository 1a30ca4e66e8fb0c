"""The verb `prompts`: the instructions of tasks, a line each, for whoever computes their text embeddings."""

from __future__ import annotations

from lit_distill.tasks import ALL, get_task, task_names


def prompts(task: list[str] | str = ALL) -> list[str]:
    """Print the instructions of tasks, a line each, as the teachers get them.

    Args:
        task: a task's name, `all` (of the table), an official suite such as `libero_goal`, or a list of them.

    Raises:
        LitDistillError: unknown task.
    """
    return [get_task(name).language for name in task_names(task)]
