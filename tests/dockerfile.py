"""A Dockerfile as data, and its steps in a folder: where no container engine is at hand."""

import json
import os
import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

_CONTINUED = re.compile(r"\\\n\s*")
_ASSIGNED = re.compile(r'(\w[\w.]*)=("[^"]*"|\S*)')
UMASK = 0o022
"""An image's own, whatever the tester's is."""
_CACHED = {"PIP_NO_CACHE_DIR"}
"""What an image does without, and a test that runs often does not."""


@dataclass(frozen=True, slots=True)
class Stage:
    """One `FROM`, and the instructions below it."""

    base: str
    steps: list[tuple[str, str]]

    def last(self, instruction: str) -> str:
        """What the last one of these says."""
        return [text for name, text in self.steps if name == instruction][-1]

    def command(self, instruction: str) -> list[str]:
        """One in exec form; raises ValueError for the shell's."""
        text = self.last(instruction)
        words: list[str] = json.loads(text[text.index("[") :])
        return words

    def environment(self) -> dict[str, str]:
        """All of `ENV`."""
        pairs = [
            pair
            for name, text in self.steps
            if name == "ENV"
            for pair in _ASSIGNED.findall(text)
        ]
        return {name: value.strip('"') for name, value in pairs}


def parse(text: str) -> list[Stage]:
    """The stages, in order."""
    stages: list[Stage] = []
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    for line in _CONTINUED.sub(" ", "\n".join(lines)).splitlines():
        name, _, rest = line.strip().partition(" ")
        if name == "FROM":
            stages.append(Stage(rest, []))
        elif name:
            stages[-1].steps.append((name, rest.strip()))
    return stages


@dataclass(slots=True, kw_only=True)
class Building:
    """One stage's steps, in folders of `root` that stand for the image's."""

    context: Path
    root: Path
    folders: Sequence[str]
    """The image's folders that stand below `root`; all others are the machine's."""
    python: str
    at: Path = field(init=False)

    def __post_init__(self) -> None:
        self.at = self.root

    def here(self, text: str) -> str:
        """The same words, about the folders of `root`."""
        for folder in self.folders:
            text = re.sub(rf"(?<![\w./]){folder}(?=/|\b)", f"{self.root}{folder}", text)
        return text

    def run(self, stage: Stage) -> None:
        """All steps that are ours. Raises CalledProcessError with what a step said."""
        environment = stage.environment()
        for name, text in stage.steps:
            if name == "WORKDIR":
                self.at = Path(self.here(text))
                self.at.mkdir(parents=True, exist_ok=True)
            elif name == "COPY" and not text.startswith("--"):
                self._copy(text.split())
            elif name == "RUN":
                self._shell(text, environment)

    def _copy(self, words: list[str]) -> None:
        *sources, target = words
        for source in (each for name in sources for each in self.context.glob(name)):
            at = self.at / target
            if source.is_dir():
                shutil.copytree(
                    source, at, ignore=shutil.ignore_patterns("__pycache__")
                )
            else:
                at.mkdir(parents=True, exist_ok=True)
                shutil.copy(source, at)

    def _shell(self, text: str, environment: Mapping[str, str]) -> None:
        script = re.sub(r"(?<![\w/.-])python(?= -m)", self.python, self.here(text))
        wanted = {
            key: value for key, value in environment.items() if key not in _CACHED
        }
        subprocess.run(  # noqa: S603 - the image's own words
            ["/bin/sh", "-euc", script],
            cwd=self.at,
            env={**os.environ, **wanted},
            umask=UMASK,
            check=True,
            capture_output=True,
            text=True,
        )
