"""A report and the files it becomes."""

from dataclasses import dataclass
from pathlib import Path

from qtt.errors import ConfigError
from qtt.reporting.charts import Chart
from qtt.support.files import write_text


@dataclass(frozen=True)
class Report:
    """html: one self-contained document. charts: its figures."""

    html: str
    charts: tuple[Chart, ...]

    def write(self, file: Path, figures: Path) -> None:
        """Write the document to `file`, and every figure as PNG and SVG into the folder `figures`.

        Raises:
            ConfigError: they cannot be written there.
        """
        try:
            write_text(file, self.html)
            figures.mkdir(parents=True, exist_ok=True)
            for chart in self.charts:
                (figures / f"{chart.name}.svg").write_text(chart.svg, encoding="utf-8")
                (figures / f"{chart.name}.png").write_bytes(chart.png)
        except (PermissionError, NotADirectoryError, IsADirectoryError, FileExistsError) as error:
            raise ConfigError(
                f"The report cannot be written: {error.strerror} ({error.filename}). Name other places with "
                "--out and --figures."
            ) from error
