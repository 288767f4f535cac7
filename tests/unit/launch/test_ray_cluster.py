"""Room on a Ray cluster, its address, and what is refused before Ray is asked: none of it needs Ray."""

import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from orchestrator.cli.launch.ray import _without_option
from orchestrator.errors import LaunchError, UsageError
from orchestrator.launch.ray_cluster import (
    Need,
    Node,
    check_room,
    chosen_address,
    joined,
    places,
)
from tests.command_line import Hlbq, hlbq_in


def node(cpus: float, gpus: float, address: str = "10.0.0.1") -> Node:
    return Node(address=address, cpus=cpus, gpus=gpus)


@pytest.mark.parametrize(
    ("nodes", "need", "room"),
    [
        ([node(8, 4), node(8, 4)], Need(cpus=1, gpus=1), 8),
        ([node(2, 4), node(8, 4)], Need(cpus=1, gpus=1), 6),  # the first node has CPUs for two
        ([node(8, 1)], Need(cpus=1, gpus=0.5), 2),
        ([node(8, 1)], Need(cpus=1, gpus=1 / 3), 3),
        ([node(8, 2)], Need(cpus=1, gpus=0.6), 2),  # one a GPU: none is spread over two
        ([node(3, 0), node(3, 0)], Need(cpus=2, gpus=0), 2),  # the CPUs left over on each do not make a third
        ([node(0, 0)], Need(cpus=1, gpus=0), 0),
    ],
)
def test_workers_fit_whole_on_a_node(nodes: Sequence[Node], need: Need, room: int) -> None:
    assert places(nodes, need) == room


def test_more_gpus_than_there_are_is_refused_with_what_there_is() -> None:
    nodes = [node(8, 4), node(8, 4)]
    check_room(nodes, Need(cpus=1, gpus=1), 8)
    with pytest.raises(UsageError) as refusal:
        check_room(nodes, Need(cpus=1, gpus=1), 9)
    assert "9 workers need 9 GPUs" in refusal.value.message
    assert "2 nodes with 8 GPUs and 16 CPUs: room for 8" in refusal.value.message
    assert refusal.value.hint.startswith("Use --workers 8, or add --wait_for_nodes")


def test_a_cluster_without_gpus_is_told_of_the_cpu() -> None:
    with pytest.raises(UsageError) as refusal:
        check_room([node(8, 0)], Need(cpus=1, gpus=1), 1)
    assert "--gpus_per_worker 0" in refusal.value.hint


@pytest.mark.parametrize(
    ("given", "environment", "address"),
    [
        (None, {}, "auto"),
        (None, {"RAY_ADDRESS": "head:6379"}, "head:6379"),
        ("local", {"RAY_ADDRESS": "head:6379"}, "local"),
        ("[::1]:6379", {}, "[::1]:6379"),
    ],
)
def test_the_address_is_what_was_given_else_the_environments(
    given: str | None, environment: dict[str, str], address: str
) -> None:
    assert chosen_address(given, environment) == address


@pytest.mark.parametrize("given", ["ray://head:10001", "head", "head:", ":6379", "head:port", "head:0", "head:70000"])
def test_what_is_no_address_is_refused(given: str) -> None:
    with pytest.raises(UsageError) as refusal:
        chosen_address(given, {})
    assert given in refusal.value.message and refusal.value.hint


def test_without_ray_the_message_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(LaunchError) as refusal, joined("auto"):
        pass
    assert refusal.value.hint == "pip install 'hlbq[ray]'"


@pytest.mark.parametrize("typed", [["--db", "URL"], ["--db=URL"]])
def test_the_databases_url_is_taken_out_of_the_command_line(typed: list[str]) -> None:
    assert _without_option(["launch", "ray", *typed, "--workers", "2"], "--db", "URL") == [
        "launch",
        "ray",
        "--workers",
        "2",
    ]


@pytest.fixture
def hlbq(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Hlbq:
    return hlbq_in(tmp_path, monkeypatch, capsys)


def test_an_sqlite_file_is_refused_with_the_way_out(hlbq: Hlbq) -> None:
    hlbq("submit --num_runs 2")
    done = hlbq("launch ray --address auto --workers 2")
    assert done.code == 2
    assert "'hlbq.db' is an SQLite file, which the nodes of a cluster cannot share" in done.err
    assert "hlbq db copy" in done.err and "postgresql://" in done.err


def test_a_detached_launch_needs_a_ray_that_stays(hlbq: Hlbq) -> None:
    done = hlbq("launch ray --address local --detach")
    assert done.code == 2
    assert "ray start --head" in done.err
