"""Which commands there are, and where each is at home."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Command:
    """A command: `qtt NAME` and `python -m qtt.NAME`. use: its arguments in short; summary: half a line."""

    name: str
    use: str
    summary: str
    module: str

    @classmethod
    def of(cls, name: str, use: str, summary: str, package: bool = False) -> "Command":
        """The command `qtt.NAME`, or `qtt.NAME.__main__` where that is a package."""
        return cls(name, use, summary, f"qtt.{name}.__main__" if package else f"qtt.{name}")


GROUPS: dict[str, tuple[Command, ...]] = {
    "Search": (
        Command.of("run", "+experiment=NAME", "find the best pretrained model and recipe for your images"),
    ),
    "After the search": (
        Command.of("report", "RUN", "what it found, as one HTML file; several runs are compared"),
        Command.of("statistics", "RUN", "the evaluated pipelines, best first", package=True),
        Command.of("finetune", "RUN", "train the best pipelines to their ends", package=True),
        Command.of("leaderboard", "RUN IMAGES", "all kept networks on labelled test images"),
        Command.of("predict", "RUN IMAGES", "classify images"),
        Command.of("export", "RUN", "files that need no qtt: timm checkpoint, ONNX, model card"),
    ),
    "Research": (
        Command.of("collect", "datasets=[…] out=DIR", "record learning curves of random pipelines"),
        Command.of("metatrain", "artifact=NAME", "fit predictors to recorded learning curves"),
        Command.of("benchmark", "table=DIR", "compare optimizers on recorded learning curves"),
    ),
    "Tools": (
        Command.of("repeat", "RUN", "search again as a run folder says, and tell what differs"),
        Command.of("doctor", "", "look at this installation and machine, and say what to mend"),
        Command.of("fetch", "HUB", "get a hub's weights in advance"),
    ),
}
"""All commands, in the order in which a person needs them."""

COMMANDS = {command.name: command for group in GROUPS.values() for command in group}
"""All commands by name."""
