"""The map of the whole agent: the same drawing in every notebook, with today's box lit."""

LIT, PLAIN, LINE, DONE = "#FFD166", "#F4F4F2", "#4A4A4A", "#007A59"

# name: (x, y, width, height, label, notebooks that light it)
BOXES = {
    "environment": (20, 150, 120, 60, "environment", ("10", "A3")),
    "replay": (176, 150, 104, 60, "replay\n01", ("01", "A3")),
    "encoder": (350, 40, 110, 50, "symlog\n02", ("02",)),
    "rssm": (350, 120, 110, 60, "RSSM\n05", ("05", "A3")),
    "latents": (350, 210, 110, 50, "discrete latents\n04", ("04",)),
    "heads": (490, 40, 110, 50, "two-hot\n03", ("03",)),
    "losses": (490, 120, 110, 140, "model losses\n06", ("06", "A2")),
    "imagination": (650, 40, 120, 60, "imagination\n07", ("07",)),
    "critic": (650, 130, 120, 50, "critic\n08", ("08",)),
    "actor": (650, 210, 120, 50, "actor\n09", ("09", "A3")),
}
ARROWS = [
    ((140, 180), (176, 180), "steps"),
    ((280, 180), (335, 180), "sequences"),
    ((615, 70), (650, 70), "states"),
    ((710, 100), (710, 130), ""),
    ((710, 180), (710, 210), ""),
]


def agent_map(notebook: str, marks: dict[str, tuple[int, int]] | None = None) -> str:
    """The map as SVG. `notebook` is its number; "00", "10" and "A1" light everything, since all parts meet there.
    marks: for each notebook, how many of its exercises are right, and how many it has; with marks, only the boxes
    of `notebook` are lit."""
    everything = notebook in ("00", "10", "A1") and marks is None
    parts = [
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 800 330" role="img" font-family="sans-serif" '
        'font-size="13">',
        f"<title>{alt(notebook)}</title>",
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
        f'<path d="M0 0L8 4L0 8z" fill="{LINE}"/></marker></defs>',
        '<rect width="800" height="330" fill="white"/>',
        f'<rect x="335" y="15" width="280" height="260" rx="8" fill="none" stroke="{LINE}" stroke-dasharray="4 4"/>',
        f'<text x="345" y="31" fill="{LINE}" font-size="12">world model</text>',
    ]
    for x, y, width, height, label, lit in BOXES.values():
        colour = LIT if notebook in lit or everything else PLAIN
        parts.append(
            f'<rect x="{x}" y="{y}" width="{width}" height="{height}" rx="6" fill="{colour}" stroke="{LINE}"/>'
        )
        lines = label.split("\n")
        top = y + height / 2 + 5 - 8 * (len(lines) - 1)
        parts += [
            f'<text x="{x + width / 2}" y="{top + 17 * i:g}" text-anchor="middle">{line}</text>'
            for i, line in enumerate(lines)
        ]
        if marks:
            parts += mark(x + width, y, *marks[lit[0]])
    for (x1, y1), (x2, y2), label in ARROWS:
        parts.append(f'<line x1="{x1}" y1="{y1}" x2="{x2}" y2="{y2}" stroke="{LINE}" marker-end="url(#tip)"/>')
        if label:
            parts.append(f'<text x="{(x1 + x2) / 2}" y="{y1 - 6}" text-anchor="middle" font-size="10">{label}</text>')
    parts.append(f'<path d="M710 260 L710 305 L80 305 L80 212" fill="none" stroke="{LINE}" marker-end="url(#tip)"/>')
    parts.append('<text x="395" y="299" text-anchor="middle" font-size="11">actions</text>')
    return "\n".join(parts + ["</svg>"]) + "\n"


def mark(x: float, y: float, right: int, count: int) -> list[str]:
    """A disc at the corner of a box: a tick if all its exercises are right, else how many are."""
    done = right == count
    return [
        f'<circle cx="{x}" cy="{y - 2}" r="12" fill="{DONE if done else "white"}" stroke="{DONE if right else LINE}"/>',
        f'<text x="{x}" y="{y + 2}" text-anchor="middle" font-size="11" fill="{"white" if done else LINE}">'
        f"{'✓' if done else f'{right}/{count}'}</text>",
    ]


def boxes() -> list[tuple[str, str]]:
    """Each box's notebook and name, in the order of the course."""
    return sorted((lit[0], label.split("\n")[0]) for *_, label, lit in BOXES.values())


def alt(notebook: str) -> str:
    lit = [label.split("\n")[0] for *_, label, books in BOXES.values() if notebook in books and notebook != "10"]
    several = f"Today's boxes, {', '.join(lit[:-1])} and {lit[-1]}, are lit." if lit[1:] else ""
    today = several or (f"Today's box, {lit[0]}, is lit." if lit else "All boxes are lit.")
    return (
        "Map of the agent: the environment fills the replay, the world model learns from its sequences, imagination "
        f"dreams with the model, critic and actor learn in the dream, and the actor acts in the environment. {today}"
    )
