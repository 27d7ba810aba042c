"""Sends requests to the service for a given time, and prints users per second, latencies and counts of answers.

python examples/serve/load_test.py --ids=ids.txt --seconds=20 --clients=16 --reload_at=5

Histories are drawn from the items in `--ids`, a file with one id per line. With `--reload_at`, the service also reloads
its export. With `--latest=exports/latest --next=exports/v2`, the link exports/latest is changed before the reload, so
that it points to the export exports/v2.
"""

from __future__ import annotations

import argparse
import http.client
import json
import random
import statistics
import threading
import time
from collections import Counter
from pathlib import Path


def main() -> None:
    """Prints users per second, latency percentiles, and counts of answers by status and version."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--address", default="127.0.0.1:8000")
    parser.add_argument("--ids", type=Path, required=True)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument(
        "--clients", type=int, default=16, help="number of concurrent clients; each client sends one request at a time"
    )
    parser.add_argument("--reload_at", type=float, help="seconds until the reload; default: no reload")
    parser.add_argument("--latest", type=Path, help="the link through which the service reads its export")
    parser.add_argument("--next", type=Path, help="the export to which the link points after the change")
    arguments = parser.parse_args()
    if arguments.next is not None and arguments.latest is None:
        parser.error("--next needs --latest")
    ids = [int(line) if line.isdecimal() else line for line in arguments.ids.read_text().split()]
    answers: list[tuple[float, float, int, str]] = []
    began = time.perf_counter()
    end = began + arguments.seconds

    def ask(seed: int) -> None:
        drawn, connection = random.Random(seed), http.client.HTTPConnection(arguments.address, timeout=60)
        while time.perf_counter() < end:
            started = time.perf_counter()
            status, answer = post(connection, "/recommend", {"history": drawn.sample(ids, drawn.randint(1, 20))})
            answers.append((started - began, time.perf_counter() - started, status, answer.get("catalog", "")))

    threads = [threading.Thread(target=ask, args=(seed,)) for seed in range(arguments.clients)]
    for thread in threads:
        thread.start()
    reload_end = 0.0
    if arguments.reload_at is not None:
        time.sleep(arguments.reload_at)
        if arguments.next is not None:
            fresh = arguments.latest.with_name(f".{arguments.latest.name}.next")
            fresh.symlink_to(arguments.next.resolve())
            fresh.rename(arguments.latest)
        status, answer = post(http.client.HTTPConnection(arguments.address, timeout=300), "/reload", {})
        reload_end = time.perf_counter() - began
        print(f"reload: status {status}, {answer}, {reload_end - arguments.reload_at:.1f} s")
    for thread in threads:
        thread.join()
    print(f"{len(answers) / (time.perf_counter() - began):.0f} users per second, {arguments.clients} at a time")
    for name, there in (
        ("without a reload", [each for each in answers if not (arguments.reload_at or 0) <= each[0] <= reload_end]),
        ("during the reload", [each for each in answers if (arguments.reload_at or 0) <= each[0] <= reload_end]),
    ):
        if len(there) > 1:
            cuts = statistics.quantiles([1e3 * each[1] for each in there], n=100)
            print(f"{name}: {len(there)} answers, p50 {cuts[49]:.1f} ms, p99 {cuts[98]:.1f} ms")
    print(
        f"by status {dict(Counter(status for *_, status, _ in answers))}, "
        f"by version {dict(Counter(version for *_, version in answers))}"
    )


def post(connection: http.client.HTTPConnection, path: str, content: dict) -> tuple[int, dict]:
    """Returns the status and the answer of a request; the status is 0 if there is no answer."""
    try:
        connection.request("POST", path, json.dumps(content), {"Content-Type": "application/json"})
        response = connection.getresponse()
        return response.status, json.loads(response.read())
    except (OSError, http.client.HTTPException, ValueError):
        connection.close()
        return 0, {}


if __name__ == "__main__":
    main()
