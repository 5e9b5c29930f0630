"""The replay's benchmark runs, and what it replays is identical."""

from pathlib import Path

from magistrate.cli.policy import newest_bundle
from magistrate.demo import bench_replay
from magistrate.policy.binary import PINNED, Binary, sha256_of
from tests.support import rego_tools


def test_both_sides_are_measured_in_one_run():
    path = Path(rego_tools.opa())
    binary = Binary(path, PINNED, sha256_of(path), "setting")
    said = bench_replay.measure(binary, newest_bundle(), seconds=0.3, questions=300)
    assert said["replay"]["questions"] == said["replay"]["identical"] == 300
    assert 0 < said["replay"]["peak_memory_mb"] < 300
    assert said["throughput_ratio"] > 0
    assert said["baseline"]["before"]["per_second"] > 0
