"""The report: tables and a figure from handmade results files, and nothing but those."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from lit_distill.errors import LitDistillError
from lit_distill.evaluation import wilson_interval
from lit_distill.study.figure import draw
from lit_distill.study.report import report

MACHINE = {
    "cpu": "a processor",
    "cores": 2,
    "gpu_memory_mib": "not available",
    "cpu_percent": {"mean": 150.0},
}


def write(folder: Path, task: str, method: str, success: int, n: int = 10, **changes: Any) -> Path:
    """A results file with `success` of `n` episodes."""
    result = {
        "study": "handmade",
        "task": f"custom_libero_{task}",
        "method": method,
        "split": "eval",
        "n": n,
        "train_seed": None if method == "teacher" else 3,
        "success": success,
        "failure": 0,
        "timeout": n - success,
        "error": 0,
        "complete": True,
        "success_rate": success / n,
        "ci95": wilson_interval(success, n),
        "steps_mean": 100.0,
        "latency_ms": {"p50": 1.0, "p95": 2.0, "p99": 3.0},
        "hardware": MACHINE,
        "commit": "0123456789ab",
        "config": {"protocol": {"execute_steps": 16, "seed": 7}, "parameters": 123456},
        "episodes": [{"state": f"eval/{index}"} for index in range(n)],
    }
    split = changes.get("split", "eval")
    path = folder / "handmade" / f"custom_libero_{task}-{method}-{split}{n}.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(result | changes))
    return path


def rows(page: str, heading: str) -> list[list[str]]:
    """Cells of the table below a heading, without its two head lines."""
    section = page.partition(f"## {heading}\n")[2].partition("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """Two tasks; the second has no BC result on a third of them."""
    write(tmp_path, "butter", "bc", 6, latency_ms={"p50": 2.0, "p95": 2.0, "p99": 2.0})
    write(tmp_path, "milk", "bc", 8, latency_ms={"p50": 4.0, "p95": 4.0, "p99": 4.0})
    write(tmp_path, "butter", "teacher", 10)
    write(tmp_path, "milk", "teacher", 9)
    write(tmp_path, "soup", "teacher", 8)
    return tmp_path


def test_success_is_shown_with_n_and_interval_by_task_and_method(results: Path) -> None:
    page, *_ = report("handmade", str(results))
    table = rows(page.read_text(), "Success")
    assert table == [
        ["butter", "10/10 = 1.00 [0.72, 1.00]", "6/10 = 0.60 [0.31, 0.83]"],
        ["milk", "9/10 = 0.90 [0.60, 0.98]", "8/10 = 0.80 [0.49, 0.94]"],
        ["soup", "8/10 = 0.80 [0.49, 0.94]", "–"],
        ["all episodes", "27/30 = 0.90 [0.74, 0.97]", "14/20 = 0.70 [0.48, 0.85]"],
    ]
    assert "| task | teacher (10 eval states) | bc (10 eval states) |" in page.read_text()


def test_means_and_deviations_are_over_tasks(results: Path) -> None:
    page, *_ = report("handmade", str(results))
    teacher, student = rows(page.read_text(), "Means over tasks")
    # teacher: 1.0, 0.9, 0.8; bc: 0.6, 0.8 (deviation 0.2 / sqrt 2) and 2, 4 ms (2 / sqrt 2)
    assert teacher[1:4] == ["3", "0.90 ± 0.10", "100 ± 0"]
    assert student[1:] == ["2", "0.70 ± 0.14", "100 ± 0", *["3.00 ± 1.41"] * 3]


def test_what_was_not_measured_is_not_available(results: Path) -> None:
    page, *_ = report("handmade", str(results))
    teacher, _ = rows(page.read_text(), "Load during the rollouts")
    assert teacher[1:] == [
        "3",
        "not available",
        "not available",
        "150 ± 0",
        "not available",
        "a processor, 2 cores",
    ]


def test_every_number_has_its_file_commit_and_seeds(results: Path) -> None:
    page, *_ = report("handmade", str(results), str(results / "elsewhere"))
    table = rows(page.read_text(), "Where the numbers are from")
    assert len(table) == 5
    teacher, student = table[:2]
    assert student[1:] == ["0123456789ab", "3", "7", "123,456"]
    assert teacher[2] == "–"
    link = student[0].partition("](")[2].rstrip(")")
    assert json.loads((page.parent / link).read_text())["success"] == 6
    assert f"python -m lit_distill report --study handmade --results {results}" in page.read_text()


def test_protocols_are_never_mixed_in_a_column(results: Path) -> None:
    write(results, "butter", "bc", 40, n=50)
    write(results, "butter", "teacher", 5, split="dev")
    dense = {"config": {"protocol": {"execute_steps": 4, "seed": 0}}}
    write(results, "soup", "bc", 9, **dense)
    page, *_ = report("handmade", str(results))
    heading = page.read_text().partition("## Success\n\n")[2].splitlines()[0]
    assert [cell.strip() for cell in heading.strip("|").split("|")] == [
        "task",
        "teacher (10 dev states)",
        "teacher (10 eval states)",
        "bc (10 eval states, 4 of 16 executed)",
        "bc (10 eval states)",
        "bc (50 eval states)",
    ]


def test_the_csv_has_a_line_per_results_file(results: Path) -> None:
    _, table, _ = report("handmade", str(results))
    lines = list(csv.DictReader(table.read_text().splitlines()))
    assert [(line["task"], line["method"]) for line in lines[:2]] == [
        ("custom_libero_butter", "teacher"),
        ("custom_libero_butter", "bc"),
    ]
    assert len(lines) == 5
    student = lines[1]
    assert [student[key] for key in ("n", "success", "timeout", "success_rate")] == ["10", "6", "4", "0.6"]
    assert float(student["latency_p50_ms"]) == 2.0
    assert student["file"] == "custom_libero_butter-bc-eval10.json"


def test_the_same_files_give_the_same_bytes(results: Path) -> None:
    first = [path.read_bytes() for path in report("handmade", str(results))]
    assert first == [path.read_bytes() for path in report("handmade", str(results))]


def test_the_figure_is_a_picture_that_shows_the_numbers(results: Path) -> None:
    picture = report("handmade", str(results))[2]
    with Image.open(picture) as image:
        assert image.format == "PNG"
    before = picture.read_bytes()
    write(results, "butter", "bc", 7)
    assert report("handmade", str(results))[2].read_bytes() != before


def test_the_legend_says_once_what_all_methods_share_and_fits_into_the_figure() -> None:
    shared = "(50 eval states, 8 of 16 executed)"
    counts: list[tuple[int, int] | None] = [(1, 2)]
    methods = ("teacher", "bc", "dagger", "awac", "awac_unshaped", "control_executed", "control_teacher")
    for labels in (
        [f"{name} {shared}" for name in methods],
        [f"{name} {shared}" for name in methods] + ["x"],
    ):
        figure = draw(["some_task"], [(label, counts) for label in labels])
        figure.draw_without_rendering()
        (legend,) = figure.legends
        shown = [text.get_text() for text in legend.get_texts()]
        assert shown == (list(methods) if labels[-1] != "x" else labels)
        box, canvas = legend.get_window_extent(), figure.bbox
        assert canvas.x0 <= box.x0 and box.x1 <= canvas.x1


def test_a_legend_of_many_methods_leaves_room_for_the_bars() -> None:
    labels = [f"method_{number} ({number} eval states, 8 of 16 executed)" for number in range(20)]
    figure = draw(["some_task"], [(label, [(1, 2)]) for label in labels])
    figure.draw_without_rendering()
    (legend,), (axes,) = figure.legends, figure.axes
    assert legend.get_window_extent().y0 >= axes.get_window_extent().y1 > axes.get_window_extent().y0
    assert axes.get_window_extent().height > figure.bbox.width / 4
    assert len({bar.get_facecolor() for bar in axes.patches}) == len(labels)


def test_more_methods_of_one_task_than_there_are_colours_have_their_names_beside_their_bars() -> None:
    labels = [f"method_{number} (50 eval states)" for number in range(31)]
    figure = draw(["some_task"], [(label, [(number, 31)]) for number, label in enumerate(labels)])
    figure.draw_without_rendering()
    (axes,), (legend,) = figure.axes, figure.legends
    assert [text.get_text() for text in axes.get_yticklabels()] == labels
    assert [bar.get_width() for bar in axes.patches] == pytest.approx([k / 31 for k in range(31)])
    assert [text.get_text() for text in legend.get_texts()] == ["some_task"]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"error": 2, "timeout": 4, "complete": False}, "incomplete, 2 of 10 episodes ended in an error"),
        ({"complete": False}, "incomplete"),
        ({"timeout": 1}, "incomplete, 5 of 10 episodes"),
        ({"episodes": []}, "incomplete"),
        ({"study": "another"}, "belongs to study 'another'"),
    ],
)
def test_what_is_incomplete_or_from_elsewhere_is_refused_by_name(
    results: Path, changes: dict[str, Any], expected: str
) -> None:
    path = write(results, "butter", "bc", 4, **changes)
    with pytest.raises(LitDistillError) as caught:
        report("handmade", str(results))
    assert str(caught.value).startswith(f"{path}: {expected}")
    assert not (results / "handmade" / "README.md").exists()


def test_a_study_without_results_is_named(tmp_path: Path) -> None:
    with pytest.raises(LitDistillError, match="gone: no results here"):
        report("gone", str(tmp_path))


def test_a_copy_of_a_result_is_refused(results: Path) -> None:
    path = results / "handmade" / "custom_libero_butter-bc-eval10.json"
    copy = path.with_name("z.json")
    copy.write_text(path.read_text())
    with pytest.raises(LitDistillError, match=r"z\.json: the same evaluation as in .*butter-bc-eval10\.json"):
        report("handmade", str(results))


def refused(folder: Path, task: str, reason: str) -> None:
    nothing = {"refused": reason, "timeout": 0, "success_rate": None, "ci95": None}
    write(folder, task, "teacher", 0, **nothing, steps_mean=None, latency_ms={}, episodes=[])


def test_a_refusal_is_told_and_counts_in_no_rate(results: Path) -> None:
    before = rows(report("handmade", str(results))[0].read_text(), "Means over tasks")
    refused(results, "rack", "cannot put anything onto wine_rack_1_top_region")
    page, table, _ = report("handmade", str(results))
    shown = rows(page.read_text(), "Success")
    assert ["rack", "refused: it cannot put anything onto wine_rack_1_top_region", "–"] in shown
    assert shown[-1] == [
        "all episodes",
        "27/30 = 0.90 [0.74, 0.97], 1 of 4 tasks refused",
        "14/20 = 0.70 [0.48, 0.85]",
    ]
    assert rows(page.read_text(), "Means over tasks") == before
    line = next(line for line in csv.DictReader(table.open()) if line["task"] == "custom_libero_rack")
    assert line["refused"] == "cannot put anything onto wine_rack_1_top_region"
    assert (line["success_rate"], line["ci95_low"]) == ("", "")


def test_official_suites_are_summed_up_each(tmp_path: Path) -> None:
    for name, success in (("libero_goal_a", 6), ("libero_goal_b", 8), ("libero_10_c", 5)):
        path = write(tmp_path, name, "teacher", success)
        path.write_text(json.dumps(json.loads(path.read_text()) | {"task": name}))
    page, *_ = report("handmade", str(tmp_path))
    assert rows(page.read_text(), "Success")[-3:] == [
        ["libero_10, all episodes", "5/10 = 0.50 [0.24, 0.76]"],
        ["libero_goal, all episodes", "14/20 = 0.70 [0.48, 0.85]"],
        ["all episodes", "19/30 = 0.63 [0.46, 0.78]"],
    ]


def test_many_tasks_give_lying_bars(tmp_path: Path) -> None:
    for index in range(40):
        write(
            tmp_path,
            f"task_{index:02d}_with_a_name_that_is_long_enough_to_fill_a_line",
            "teacher",
            index % 11,
        )
    with Image.open(report("handmade", str(tmp_path))[2]) as picture:
        assert picture.height > picture.width


def test_the_values_of_a_teacher_are_diagnosed(results: Path) -> None:
    assert "potential" not in report("handmade", str(results))[0].read_text()
    episodes = [
        {"state": "eval/0", "outcome": "success", "values": [0.2, 0.4, 0.3, 1.0]},
        {"state": "eval/1", "outcome": "timeout", "values": [0.1, 0.1]},
    ]
    write(results, "pea", "teacher", 1, n=2, episodes=episodes)
    found = rows(report("handmade", str(results))[0].read_text(), "The teacher's value as a potential")
    assert found == [
        ["pea", "teacher (2 eval states)", "6", "0.333", "1.000", "0.100", "0"],
        ["all episodes", "teacher (2 eval states)", "6", "0.333", "1.000", "0.100", "0"],
    ]


def queries(count: int, seconds: float, cached: int = 0, retried: int = 0) -> dict[str, float]:
    return {"queries": count, "cached": cached, "retried": retried, "clipped": 0, "seconds": seconds}


def test_what_asking_the_teacher_cost_is_told_by_task_and_method(results: Path) -> None:
    heading = "What asking the teacher cost"
    assert heading not in report("handmade", str(results))[0].read_text()
    data = {"teacher": queries(1500, 60.0, cached=20), "dagger-1": queries(500, 30.0, retried=3)}
    write(results, "butter", "bc", 6, data_queries=data)
    write(results, "butter", "teacher", 10, teacher_queries=queries(100, 4.0))
    page = report("handmade", str(results))[0].read_text()
    assert rows(page, heading) == [  # the other results do not know, so nothing is added up
        ["butter", "teacher (10 eval states)", "its evaluation", "100", "0", "0", "4.0", "40.0"],
        ["butter", "bc (10 eval states)", "its data", "2,000", "20", "3", "90.0", "45.0"],
    ]
    write(results, "milk", "bc", 8, data_queries={"teacher": queries(1000, 60.0)})
    refused(results, "rack", "cannot put anything anywhere")
    table = rows(report("handmade", str(results))[0].read_text(), heading)
    assert table[2:] == [
        ["milk", "bc (10 eval states)", "its data", "1,000", "0", "0", "60.0", "60.0"],
        ["all tasks", "bc (10 eval states)", "its data", "3,000", "20", "3", "150.0", "50.0"],
    ]
