"""The Cosmos Policy server: a file that stands alone, in Python 3.10; its wire, its queue, its embeddings."""

from __future__ import annotations

import ast
import contextlib
import json
import pickle
import shutil
import socket
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from cosmos_server import CosmosServer, serving

from lit_distill.cli import main
from lit_distill.tasks import TASKS
from lit_distill.teachers import cosmos_server
from lit_distill.teachers.cosmos_server import weights_sha256
from lit_distill.teachers.http_connection import to_json

PROMPT = TASKS["custom_libero_object_milk"].language
SOURCE = Path(cosmos_server.__file__)


def picture(**colours: int) -> np.ndarray:
    image = np.zeros((256, 256, 3), np.uint8)
    image[100:110, 100:110, 0] = image[200:210, 180:190, 1] = 255
    return image


def request(**changes: Any) -> dict[str, Any]:
    whole: dict[str, Any] = {
        "observation": {"primary_image": picture(), "wrist_image": picture(), "proprio": np.zeros(9)},
        "task_description": PROMPT,
        "seed": 195,
        "num_denoising_steps_action": 5,
        "use_jpeg_compression": True,
        "trained_with_image_aug": True,
    }
    return whole | changes


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CosmosServer]:
    with serving(tmp_path_factory.mktemp("cosmos")) as server:
        yield server


def post(server: CosmosServer, body: Any, **options: Any) -> httpx.Response:
    return httpx.post(f"{server.url}/act", json=to_json(body), timeout=30, **options)


def test_the_file_is_python_3_10_and_needs_nothing_but_numpy_and_cosmos_policy():
    tree = ast.parse(SOURCE.read_text(), feature_version=(3, 10))
    names = {
        name.split(".")[0]
        for node in ast.walk(tree)
        for name in (
            [alias.name for alias in node.names]
            if isinstance(node, ast.Import)
            else [node.module or ""]
            if isinstance(node, ast.ImportFrom)
            else []
        )
    }
    assert names - set(sys.stdlib_module_names) == {"numpy", "cosmos_policy"}
    new = {
        "tomllib",
        "StrEnum",
        "ExceptionGroup",
        "UTC",
        "batched",
        "file_digest",
    }  # of Python 3.11 and later
    assert not new & {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}


def test_it_answers_with_sixteen_rows_and_the_value_as_it_comes(server: CosmosServer):
    answer = post(server, request()).json()
    assert np.shape(answer["actions"]) == (16, 7)
    assert 0.0 <= answer["value_prediction"] <= 1.0
    asked = json.loads(server.questions()[-1].with_suffix(".json").read_text())
    assert asked == {
        "prompt": PROMPT, "seed": 195, "steps": 5, "jpeg": True, "crop": True,
        "checkpoint": cosmos_server.REPOSITORY,
    }  # fmt: skip
    seen = np.load(server.questions()[-1])
    assert np.array_equal(seen["primary_image"], picture()) and seen["primary_image"].dtype == np.uint8


def test_the_settings_of_a_request_hold_for_it_alone(server: CosmosServer):
    changes = {
        "seed": 3,
        "num_denoising_steps_action": 1,
        "use_jpeg_compression": False,
        "trained_with_image_aug": False,
    }
    post(server, request(**changes))
    other = json.loads(server.questions()[-1].with_suffix(".json").read_text())
    assert (other["seed"], other["steps"], other["jpeg"], other["crop"]) == (3, 1, False, False)
    post(server, request())
    usual = json.loads(server.questions()[-1].with_suffix(".json").read_text())
    assert (usual["seed"], usual["steps"], usual["jpeg"], usual["crop"]) == (195, 5, True, True)


def observation(**changes: Any) -> dict[str, Any]:
    return {"observation": request()["observation"] | changes}


@pytest.mark.parametrize(
    ("changes", "status", "named"),
    [
        (observation(primary_image=np.zeros((128, 128, 3), np.uint8)), 422, "observation.primary_image"),
        (observation(wrist_image=np.zeros((256, 256, 3), np.float32)), 422, "observation.wrist_image"),
        (observation(wrist_image=None), 422, "observation.wrist_image"),
        (observation(proprio=np.zeros(8)), 422, "observation.proprio"),
        (observation(proprio=np.full(9, np.nan)), 422, "observation.proprio"),
        ({"observation": []}, 422, "observation"),
        ({"task_description": ""}, 422, "task_description"),
        ({"task_description": "fly to the moon"}, 422, "has no embedding"),
        ({"seed": 1.5}, 422, "seed"),
        ({"seed": True}, 422, "seed"),
        ({"num_denoising_steps_action": 0}, 422, "num_denoising_steps_action"),
        ({"use_jpeg_compression": 1}, 422, "use_jpeg_compression"),
        (observation(proprio={"__numpy__": "AA==", "dtype": "|O", "shape": [1]}), 400, "array"),
        (observation(proprio={"__numpy__": "AA==", "dtype": "|u1", "shape": [9]}), 400, "array"),
        (observation(proprio={"__numpy__": "%", "dtype": "|u1", "shape": [1]}), 400, "array"),
        (observation(proprio={"__numpy__": "AA==", "dtype": "|u1", "shape": [-1, -1]}), 400, "array"),
    ],
)
def test_what_is_wrong_with_a_request_is_named_in_one_line(
    server: CosmosServer, changes: dict[str, Any], status: int, named: str
):
    before = len(server.questions())
    response = post(server, request(**changes))
    assert response.status_code == status
    assert named in response.json()["error"] and "\n" not in response.json()["error"]
    assert len(server.questions()) == before


def test_it_survives_what_is_no_request(server: CosmosServer):
    url = f"{server.url}/act"
    assert httpx.post(url, content=b"{").status_code == 400
    assert httpx.post(url, content=b"[" * 100_000).status_code == 400
    assert httpx.post(url, content=b"\xff\xfe").status_code == 400
    assert httpx.post(url, json=[1]).status_code == 422
    assert httpx.get(f"{server.url}/").status_code == 404
    assert httpx.post(f"{server.url}/other", json={}).status_code == 404
    with contextlib.suppress(httpx.TransportError):
        assert httpx.post(url, content=b"\0" * (9 * 2**20)).status_code == 413
    with socket.create_connection(("127.0.0.1", server.port)) as half:
        half.sendall(b"POST /act HTTP/1.1\r\nContent-Length: 100\r\n\r\n{")
        assert post(server, request()).status_code == 200
    assert httpx.get(f"{server.url}/healthz").text == "OK"
    assert httpx.get(f"{server.url}/metadata").json()["checkpoint"] == cosmos_server.REPOSITORY


def test_simulators_wait_for_one_another_and_who_left_is_not_served(tmp_path: Path):
    with serving(tmp_path, STAND_IN_SECONDS="0.3") as server:
        started = time.monotonic()
        with ThreadPoolExecutor(4) as pool:
            statuses = list(pool.map(lambda seed: post(server, request(seed=seed)).status_code, range(4)))
        assert statuses == [200] * 4
        assert time.monotonic() - started >= 4 * 0.3  # the stand-in itself fails if two threads ask it
        before = len(server.questions())
        with ThreadPoolExecutor(6) as pool:
            busy = [pool.submit(post, server, request()) for _ in range(6)]
            time.sleep(0.2)
            with pytest.raises(httpx.ReadTimeout):
                httpx.post(f"{server.url}/act", json=to_json(request(seed=77)), timeout=0.05)
            assert all(future.result().status_code == 200 for future in busy)
        post(server, request())
        seeds = [json.loads(q.with_suffix(".json").read_text())["seed"] for q in server.questions()[before:]]
        assert seeds == [195] * 7


def test_a_defect_of_the_policy_is_no_traceback_for_the_client(tmp_path: Path):
    with serving(tmp_path, STAND_IN_FAULT="raise") as server:
        response = post(server, request())
        assert response.status_code == 500
        assert response.json() == {"error": "the policy failed with RuntimeError; the server's log says more"}
        assert post(server, request()).status_code == 500  # it goes on


@pytest.mark.parametrize("origin", ["https://example.org", "http://127.0.0.1:8080", "null"])
def test_a_web_page_is_turned_away(server: CosmosServer, origin: str):
    headers = {"Origin": origin}
    assert post(server, request(), headers=headers).json() == {"error": "web pages are not served"}
    assert httpx.get(f"{server.url}/metadata", headers=headers).status_code == 403
    assert post(server, request()).status_code == 200


def test_a_token_is_asked_for_where_one_is_set(tmp_path: Path):
    with serving(tmp_path, "--token_env", "COSMOS_TOKEN", COSMOS_TOKEN="right") as server:
        for headers in ({}, {"Authorization": "Api-Key wrong"}):
            assert post(server, request(), headers=headers).status_code == 401
            assert httpx.get(f"{server.url}/metadata", headers=headers).status_code == 401
        assert post(server, request(), headers={"Authorization": "Api-Key right"}).status_code == 200
        assert httpx.get(f"{server.url}/healthz").status_code == 200


def test_a_client_without_the_token_is_refused_before_its_body_is_read(tmp_path: Path):
    with serving(tmp_path, "--token_env", "COSMOS_TOKEN", COSMOS_TOKEN="right") as server:
        with socket.create_connection(("127.0.0.1", server.port), timeout=10) as client:
            client.sendall(b"POST /act HTTP/1.1\r\nContent-Length: 8000000\r\n\r\n")  # and no body
            assert client.recv(100).startswith(b"HTTP/1.1 401 ")
        large = request(padding="0" * 4_000_000)  # sent whole, it is answered and not cut off
        assert post(server, large).status_code == 401
        assert post(server, large, headers={"Authorization": "Api-Key right"}).status_code == 200


def test_files_that_are_here_are_not_looked_up_on_the_hub(tmp_path: Path):
    """Upstream takes `a/b` for a repository there, and a relative path of three parts for a file there."""
    (tmp_path / "copy" / "weights" / "model").mkdir(parents=True)
    (tmp_path / "stats.json").write_text("{}")
    with serving(
        tmp_path / "copy",
        *("--dataset_stats", "../copy/../stats.json"),
        *("--embeddings", "../copy/embeddings.pkl"),
        *("--checkpoint", "weights/model"),
    ) as server:
        assert post(server, request()).status_code == 200
        asked = json.loads(server.questions()[-1].with_suffix(".json").read_text())
        assert asked["checkpoint"] == str(tmp_path / "copy" / "weights" / "model")
        assert httpx.get(f"{server.url}/metadata").json()["checkpoint"] == "weights/model"


def test_other_weights_at_the_same_path_are_others(tmp_path: Path):
    seen = set()
    for name, content in (("a.pt", b"1"), ("a.pt", b"2"), ("b.pt", b"2"), ("b.pt", b"2" * 2**22)):
        folder = tmp_path / "weights"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        (folder / name).write_bytes(content)
        seen.add(weights_sha256(str(folder)))
        assert weights_sha256(str(folder)) in seen  # the same again
    (folder / "b.pt").write_bytes(b"2" * (2**22 - 1) + b"3")
    seen.add(weights_sha256(str(folder)))
    seen.add(weights_sha256(str(folder / "b.pt")))
    assert len(seen) == 6


def test_embeddings_are_written_to_a_folder_here(tmp_path: Path):
    server = CosmosServer(tmp_path)
    (tmp_path / "prompts.txt").write_text("push\n")
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "b" / "published.pkl").write_bytes(pickle.dumps({"pull": np.ones(3, np.float32)}))
    options = ["--prompts", "prompts.txt", "--published", "a/b/published.pkl", "--embeddings", "a/b/ours.pkl"]
    output, _ = server.command("embed", *options).communicate(timeout=30)
    assert "a/b/ours.pkl: 1 of 1 prompts added" in output
    assert set(pickle.loads((tmp_path / "a" / "b" / "ours.pkl").read_bytes())) == {"pull", "push"}


FAILS_AT_ONCE = """
import time, cosmos_server

class SlowServer(cosmos_server.Server):
    def __init__(self, *arguments):
        super().__init__(*arguments)
        time.sleep(0.5)

def fail(*arguments):
    raise ImportError("no module\\nlike that")

cosmos_server.Server, cosmos_server.CosmosPolicy = SlowServer, fail
cosmos_server.main(["serve", "--port", "0"])
"""


def test_a_policy_that_fails_at_once_is_told_in_one_line(tmp_path: Path):
    server = CosmosServer(tmp_path)
    server.script.with_name("fails.py").write_text(FAILS_AT_ONCE)
    server.script = server.script.with_name("fails.py")
    process = server.command()
    output, _ = process.communicate(timeout=30)
    assert process.returncode == 1
    assert output.splitlines()[-1] == "error: the policy could not be loaded: no module like that"


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (
            ["--host", "0.0.0.0"],
            "error: --host 0.0.0.0 can be reached from other machines: give --token_env, too",
        ),
        (["--token_env", "UNSET"], "error: --token_env: the environment variable UNSET is not set"),
        (["--embeddings", "none.pkl"], "`cosmos_server.py embed` makes it"),
        (["--port", "99999"], "error: --port: must be in 0..65535, got 99999"),
    ],
)
def test_it_does_not_start_like_that(tmp_path: Path, words: list[str], line: str):
    process = CosmosServer(tmp_path).command("serve", "--port", "0", *words)
    output, _ = process.communicate(timeout=30)
    assert process.returncode == 1
    assert line in output


def test_the_embeddings_of_our_prompts_are_computed_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["prompts"]) == 0
    prompts = capsys.readouterr().out
    assert prompts.splitlines() == [task.language for task in TASKS.values()]
    server = CosmosServer(tmp_path)
    server.embeddings.unlink()
    (tmp_path / "prompts.txt").write_text(prompts)
    (tmp_path / "published.pkl").write_bytes(pickle.dumps({"an old prompt": np.ones(3, np.float32)}))
    options = ["--prompts", "prompts.txt", "--published", "published.pkl", "--embeddings", "embeddings.pkl"]
    for added in (15, 0):
        output, _ = server.command("embed", *options).communicate(timeout=30)
        assert f"embeddings.pkl: {added} of 15 prompts added" in output
    known = pickle.loads(server.embeddings.read_bytes())
    assert set(known) == {"an old prompt", *(task.language for task in TASKS.values())}


@pytest.mark.parametrize(
    ("prompts", "published", "line"),
    [
        ("none.txt", "published.pkl", "error: --prompts none.txt: cannot be read"),
        ("prompts.txt", "empty.pkl", "error: --published empty.pkl: no embeddings could be read"),
    ],
)
def test_embeddings_are_not_written_without_what_they_are_made_of(
    tmp_path: Path, prompts: str, published: str, line: str
):
    server = CosmosServer(tmp_path)
    server.embeddings.unlink()
    (tmp_path / "prompts.txt").write_text("push\n")
    (tmp_path / "empty.pkl").write_bytes(pickle.dumps({}))
    options = ["--prompts", prompts, "--published", published, "--embeddings", "embeddings.pkl"]
    process = server.command("embed", *options)
    output, _ = process.communicate(timeout=30)
    assert process.returncode == 1 and line in output
    assert not server.embeddings.exists()


def test_the_readme_s_commands_are_those_of_the_server(monkeypatch: pytest.MonkeyPatch):
    """What README tells to type in Cosmos's environment is what the file that is copied there understands."""
    readme = (SOURCE.parents[2] / "README.md").read_text()
    lines = [line.split("  #")[0].split() for line in readme.splitlines() if line.startswith("$ uv run")]
    called: dict[str, Any] = {}
    for name in ("serve", "embed"):
        monkeypatch.setattr(
            cosmos_server, name, lambda arguments, name=name: called.update({name: arguments})
        )
    for words in lines:
        assert words[words.index("python") + 1] == SOURCE.name
        cosmos_server.main(words[words.index(SOURCE.name) + 1 :])
    assert set(called) == {"serve", "embed"}
    assert called["embed"].prompts == "prompts.txt"
    assert "$ python -m lit_distill prompts > prompts.txt" in readme
    config = (SOURCE.parents[2] / "conf" / "collect_cosmos.yaml").read_text()
    assert f"server: http://{called['serve'].host}:{called['serve'].port} " in config
