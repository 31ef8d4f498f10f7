"""What configurations say of themselves in the comments that they begin with."""

from __future__ import annotations

import re
from pathlib import Path


def header(path: Path) -> dict[str, str]:
    """Returns `# Result:    ...` and what goes on below it, by name; lines of commands stay lines."""
    fields: dict[str, str] = {}
    name = ""
    for line in path.read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            break
        begins = re.match(r"# ([A-Z][a-z]+): +(.*)", line)
        if begins:
            name = begins[1]
        elif not line.startswith("#    "):
            name = ""
        if name:
            between = "\n" if name == "Command" else " "
            text = begins[2] if begins else line.lstrip("# ")
            fields[name] = f"{fields.get(name, '')}{between}{text}".strip()
    return fields
