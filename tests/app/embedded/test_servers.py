import json
import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import psycopg
import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from app.embedded.daemon import DaemonError, wait_gone
from app.embedded.servers import Servers

KEEPER = """
import sys, pathlib
from app.embedded.servers import Servers
with Servers(pathlib.Path(sys.argv[1]), durable=False) as servers:
    print(servers.postgres.daemon.pid, servers.valkey.daemon.pid, servers.guard._process.pid, flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def folder(servers: Servers) -> Iterator[Path]:
    """Beside the session's servers, where the servers' user may go."""
    return servers.folder.parent / f"{servers.folder.name}-own"


@pytest.fixture(autouse=True)
def _removed(folder: Path) -> Iterator[None]:
    yield
    subprocess.run(["rm", "-rf", str(folder)], check=True)


def count(servers: Servers) -> int:
    with servers.postgres.connect() as connection:
        connection.execute("CREATE TABLE IF NOT EXISTS kept (n int)")
        connection.execute("INSERT INTO kept VALUES (1)")
        row = connection.execute("SELECT count(*) FROM kept").fetchone()
    assert row is not None
    return int(row[0])


def test_data_outlives_a_restart(folder: Path) -> None:
    with Servers(folder) as servers:
        assert count(servers) == 1
        with redis.Redis.from_url(servers.valkey.url()) as client:
            client.set("kept", "yes")
    with Servers(folder) as servers:
        assert count(servers) == 2
        with redis.Redis.from_url(servers.valkey.url()) as client:
            assert client.get("kept") == b"yes"


def test_only_the_password_opens(servers: Servers) -> None:
    with (
        redis.Redis(host="127.0.0.1", port=servers.valkey.port, retry=Retry(NoBackoff(), 0)) as client,
        pytest.raises(redis.AuthenticationError),
    ):
        client.get("anything")
    with pytest.raises(psycopg.OperationalError, match="password"):
        psycopg.connect(host="127.0.0.1", port=servers.postgres.port, user="passdown", password="wrong")


def test_passwords_lie_in_a_file_of_the_owner_alone(servers: Servers) -> None:
    path = servers.folder / "secrets.json"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    passwords = json.loads(path.read_text())
    assert passwords["postgres"] != passwords["valkey"]
    for daemon in (servers.postgres.daemon, servers.valkey.daemon):
        shown = " ".join(psutil.Process(daemon.pid).cmdline())
        assert passwords["postgres"] not in shown
        assert passwords["valkey"] not in shown


def test_a_folder_has_one_keeper(servers: Servers) -> None:
    with pytest.raises(DaemonError, match="in use by another passdown"):
        Servers(servers.folder).start()


def test_servers_end_with_a_killed_keeper(folder: Path) -> None:
    keeper, pids = start_keeper(folder)
    assert {os.getpgid(process.pid) for process in pids}.isdisjoint({os.getpgid(keeper.pid)})
    keeper.kill()
    keeper.wait()
    assert all(wait_gone(process, 30) for process in pids)


def test_a_restart_takes_over_from_servers_left_running(folder: Path) -> None:
    keeper, (postgres, valkey, guard) = start_keeper(folder)
    guard.kill()
    keeper.kill()
    keeper.wait()
    assert postgres.is_running()
    with Servers(folder, durable=False) as servers:
        assert count(servers) == 1
    assert wait_gone(postgres, 30)
    assert wait_gone(valkey, 30)


def test_a_stale_pid_file_of_another_process_is_no_hindrance(folder: Path) -> None:
    with Servers(folder, durable=False):
        pass
    other = subprocess.Popen(["sleep", "60"])
    try:
        pid_file = folder / "postgres" / "cluster" / "postmaster.pid"
        pid_file.write_text(f"{other.pid}\n")
        with Servers(folder, durable=False) as servers:
            assert count(servers) == 1
        assert other.poll() is None
    finally:
        other.kill()
        other.wait()


def test_an_interrupted_initialisation_is_begun_again(folder: Path) -> None:
    half = folder / "postgres" / "cluster.new"
    half.mkdir(parents=True)
    (half / "PG_VERSION").write_text("18")
    with Servers(folder, durable=False) as servers:
        assert count(servers) == 1


def test_a_taken_port_is_told_with_the_servers_own_words(servers: Servers, folder: Path) -> None:
    with pytest.raises(DaemonError, match=r"(?s)PostgreSQL ended.*could not bind"):
        Servers(folder, postgres_port=servers.postgres.port, durable=False).start()


def start_keeper(folder: Path) -> tuple[subprocess.Popen[str], list[psutil.Process]]:
    keeper = subprocess.Popen(
        [sys.executable, "-c", KEEPER, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert keeper.stdout is not None
    return keeper, [psutil.Process(int(pid)) for pid in keeper.stdout.readline().split()]
