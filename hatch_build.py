"""The README for a package index. Links to files of the repository don't work there, so only their text stays."""

from pathlib import Path
import re

from hatchling.metadata.plugin.interface import MetadataHookInterface

INSIDE = r"\]\((?!https?:|#)[^)]*\)"  # the end of a link to a file of the repository


class Readme(MetadataHookInterface):
    def update(self, metadata: dict) -> None:
        text = Path(self.root, "README.md").read_text(encoding="utf-8")
        text = re.sub(rf"!\[([^]]*){INSIDE}", r"*(picture: \1)*", text)
        text = re.sub(rf"\[([^]]*){INSIDE}", r"\1", text)
        metadata["readme"] = {"content-type": "text/markdown", "text": text}
