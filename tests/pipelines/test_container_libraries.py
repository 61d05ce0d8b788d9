"""What an image holds is compared with what the archive asks for."""

from components.shared.errors import PipelineError
from pipelines.images.libraries import allowed_versions, compare_libraries, differing
from pipelines.images.sbom import Distribution, Inventory
from pipelines.images.tool import Tool

HELD = Inventory(
    python=(
        Distribution(name="NumPy", version="2.4.6"),
        Distribution(name="torch", version="2.15.0+cpu"),
        Distribution(name="onnxruntime", version="1.30.0"),
    ),
    debian=(),
)


class Silent(Tool):
    """An image without Python."""

    def run_python(self, tag: str, script: str) -> str:
        raise PipelineError(f"no python3 in {tag} for {script[:10]}")


def test_the_same_versions_are_nothing_to_speak_of_however_a_name_is_written() -> None:
    assert differing(HELD, {"numpy": ("2.5.5", "2.4.6"), "torch": ("2.15.0",)}) == ""


def test_what_is_missing_and_what_differs_is_named() -> None:
    said = differing(HELD, {"numpy": ("2.4.6",), "onnxruntime": ("1.31.1",), "starlette": ("1.10.0",)})
    assert said == "lacks starlette==1.10.0 and has onnxruntime 1.30.0 in place of 1.31.1"


def test_many_are_counted() -> None:
    said = differing(HELD, {f"library-{number}": ("1",) for number in range(9)})
    assert said.endswith("library-4==1 and 4 more")


def test_an_image_that_cannot_say_is_told_apart_from_one_that_is_fine() -> None:
    assert compare_libraries(Silent("none"), "image", "numpy==1\n") == "has no python3 that could say what it holds"
    assert compare_libraries(Silent("none"), "image", "# nothing\n") == ""


def test_a_lock_may_have_a_version_for_each_python_and_libraries_for_other_systems() -> None:
    lock = """# What serves
NumPy==2.4.6 ; python_full_version < '3.12' \\
    --hash=sha256:00
numpy==2.5.5 ; python_full_version >= '3.12' \\
    --hash=sha256:00
pywin32==1 ; sys_platform == 'win32' \\
    --hash=sha256:00
torch==2.15.0+cpu
odd==1,==1
not a requirement==
"""
    assert allowed_versions(lock) == {"numpy": ("2.4.6", "2.5.5"), "torch": ("2.15.0",), "odd": ("1",)}
