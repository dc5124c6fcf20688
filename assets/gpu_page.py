"""Writes what `gpu_day.py` found: gpu.md, rows for the README, lines for bench.txt. A missing number is –."""

from collections.abc import Iterable
from pathlib import Path
import statistics
from typing import Any

MISSING = "–"


def write_pages(found: dict[str, Any], out: Path) -> str:
    """Write the pages into the folder; returns the page."""
    page = "\n\n".join(part for part in sections(found) if part) + "\n"
    (out / "gpu.md").write_text(page, encoding="utf-8")
    (out / "readme_rows.md").write_text(readme_rows(found), encoding="utf-8")
    (out / "bench.txt").write_text(bench_lines(found), encoding="utf-8")
    return page


def sections(found: dict[str, Any]) -> Iterable[str]:
    about = first(rows_of(found, "machine"))
    yield f"## Measured on: {get(about, 'card')}"
    yield (
        f"{get(about, 'gigabytes')} GB, {get(about, 'processors')} multiprocessors, compute capability "
        f"{get(about, 'capability')}; driver {get(about, 'driver')}, CUDA {get(about, 'cuda')}, PyTorch "
        f"{get(about, 'torch')}, Python {get(about, 'python')}, {get(about, 'cores')} CPU cores; {get(about, 'date')}. "
        "By `python assets/make.py gpu`."
    )
    yield from (
        one(found)
        for one in (tests_section, steps_section, cartpole_section, acting_section, notebook_section, others_section)
    )
    ended = [[name, r.ended, f"{r.took:.0f}", escaped(r.says)] for name, r in found.items()]
    yield "### What was run\n\n" + table(["experiment", "ended", "seconds", "last words"], ended)


def tests_section(found: dict[str, Any]) -> str:
    rows = [row for name in ("numbers", "runs", "capture") for row in rows_of(found, name)]
    lines = [[f"`{get(r, 'tests')}`", get(r, "passed"), get(r, "failed"), get(r, "skipped")] for r in rows]
    failures = [f"- {escaped(line)}" for row in rows for line in row.get("failures", [])]
    return "\n\n".join(["### Tests", table(["tests", "passed", "failed", "skipped"], lines), *failures])


def steps_section(found: dict[str, Any]) -> str:
    head = ["seconds per train step", "precision", "weights", "eager", "captured", "compiled", "kernels alone"]
    head += ["launches", "captured / kernels", "memory, MB: eager", "captured"]
    lines = [step_line(shape, precision, ways) for (shape, precision), ways in steps(found).items()]
    return "### A train step\n\nMedians.\n\n" + table(head, lines)


def step_line(shape: str, precision: str, ways: dict[str, Any]) -> list[str]:
    times = {way: statistics.median(row["seconds"]) for way, row in ways.items() if "seconds" in row}
    kernels, eager, captured = (ways.get(way, {}) for way in ("kernels", "eager", "captured"))
    ratio = MISSING
    if "captured" in times and kernels.get("kernel_seconds"):
        ratio = f"{times['captured'] / kernels['kernel_seconds']:.2f}"
    shown = [f"{times[way]:.4g}" if way in times else MISSING for way in ("eager", "captured")]
    compiled = f"{times['compiled']:.4g}" if "compiled" in times else "not tried, or not possible"
    megabytes = [f"{row['memory'] / 1e6:,.0f}" if row.get("memory") else MISSING for row in (eager, captured)]
    alone = f"{kernels['kernel_seconds']:.4g}" if kernels else MISSING
    count, weights = kernels.get("launches", MISSING), eager.get("weights", MISSING)
    numbers = [f"{n:,}" if isinstance(n, int) else n for n in (weights, count)]
    return [shape, precision, numbers[0], *shown, compiled, alone, numbers[1], ratio, *megabytes]


def steps(found: dict[str, Any]) -> dict[tuple[str, str], dict[str, Any]]:
    """The rows about train steps, by shape and precision, then by way."""
    sorted_rows: dict[tuple[str, str], dict[str, Any]] = {}
    for name, result in found.items():
        for row in result.rows:
            if "shape" in row and "error" not in row:
                sorted_rows.setdefault((row["shape"], row["precision"]), {})[row["way"]] = row
    return sorted_rows


def cartpole_section(found: dict[str, Any]) -> str:
    head = ["CartPole-v1, captured", "seed", "solved after steps", "seconds until then", "later evaluations at 475"]
    head += ["their worst", "environment steps", "train steps", "seconds", "a step: plain", "replayed"]
    lines = [run_line(row) for row in runs(found)]
    notes = sorted({f"- {escaped(note)}" for row in runs(found) for note in row.get("notes", [])})
    return "\n\n".join(["### Learning", table(head, lines), *notes])


def runs(found: dict[str, Any]) -> list[dict[str, Any]]:
    return [row for name in ("cartpole-small", "cartpole-gpu", "pixels") for row in rows_of(found, name)]


def run_line(row: dict[str, Any]) -> list[str]:
    later = row.get("later", [])
    plain, replayed = (f"{part:.4f}" for part in row["capture_seconds"]) if row.get("captured") else (MISSING, MISSING)
    return [
        get(row, "preset"),
        get(row, "seed"),
        str(row.get("solved_at_env_steps") or "not solved"),
        str(row.get("solved_at_seconds") or "not solved"),
        f"{sum(mean >= 475 for mean in later)} of {len(later)}",
        f"{min(later):.0f}" if later else "none",
        get(row, "env_steps"),
        get(row, "train_steps"),
        get(row, "seconds"),
        plain,
        replayed,
    ]


def acting_section(found: dict[str, Any]) -> str:
    head = [
        "milliseconds per action",
        "environments",
        "on the GPU",
        "copy on the CPU",
        "chosen",
        "within 10 % of the best",
    ]
    lines = [
        [
            get(row, "preset"),
            get(row, "envs"),
            *(f"{1000 * row['seconds'][way]:.2f}" for way in ("GPU", "copy")),
            get(row, "chosen"),
            "yes" if row["right"] else "no",
        ]
        for row in rows_of(found, "acting")
    ]
    return "### Acting\n\n" + table(head, lines)


def notebook_section(found: dict[str, Any]) -> str:
    row = first(rows_of(found, "notebook"))
    words = (
        f"{get(row, 'cells')} cells ran, with {get(row, 'pictures')} pictures and {len(row.get('errors', []))} errors."
    )
    said = [f"- {escaped(line)}" for line in row.get("errors", []) + row.get("says", [])]
    return "\n\n".join(["### Notebook 10", words, "\n".join(said)]).strip()


def others_section(found: dict[str, Any]) -> str:
    row = first(rows_of(found, "nccl"))
    return f"### Two processes, one card\n\nIt was {get(row, 'result')}: {escaped(get(row, 'says'))}"


def readme_rows(found: dict[str, Any]) -> str:
    """Rows for the README's table of results, one for each preset."""
    card, lines = get(first(rows_of(found, "machine")), "card"), []
    for preset in ("small", "gpu"):
        seeds = rows_of(found, f"cartpole-{preset}")
        solved = [row for row in seeds if row.get("solved_at_env_steps")]
        later = [mean for row in seeds for mean in row["later"]]
        steps_until = ", ".join(f"{row['solved_at_env_steps']:,}" for row in solved) or "none"
        seconds_until = ", ".join(f"{row['solved_at_seconds']:.0f}" for row in solved) or "none"
        at_475 = f"{sum(mean >= 475 for mean in later)} of {len(later)}"
        words = f"`{preset}` preset on one {card}, {len(solved)} of {len(seeds)} seeds solved"
        lines.append(f"| {words} | {steps_until} | {seconds_until} | {at_475} |\n")
    return "".join(lines)


def bench_lines(found: dict[str, Any]) -> str:
    """Lines in the words of assets/bench.txt."""
    card, version = (get(first(rows_of(found, "machine")), key) for key in ("card", "torch"))
    text = ""
    for (shape, precision), ways in steps(found).items():
        text += f"{shape}: {precision}; {card}, torch {version.split('+')[0]}\n"
        for way, row in ways.items():
            if "seconds" in row:
                s = row["seconds"]
                text += f"{way:>12}: {statistics.median(s):7.4f} s   (fastest {min(s):.4f}, slowest {max(s):.4f}), "
                text += f"{row['memory'] / 1e6:.0f} MB, after {row['prepared']:.1f} s of preparation\n"
            else:
                text += f"{way:>12}: {row['launches']:7,} that take {row['kernel_seconds']:.4f} s in total\n"
    return text


def rows_of(found: dict[str, Any], name: str) -> list[dict[str, Any]]:
    return found[name].rows if name in found else []


def first(rows: list[dict[str, Any]]) -> dict[str, Any]:
    return rows[0] if rows else {}


def get(row: dict[str, Any], key: str) -> str:
    return str(row.get(key, MISSING))


def escaped(text: str) -> str:
    return str(text).replace("|", r"\|").replace("\n", " ").replace("<", "&lt;")


def table(head: list[str], lines: list[list[Any]]) -> str:
    rows = [head, ["---"] * len(head), *lines]
    return "\n".join(f"| {' | '.join(map(str, row))} |" for row in rows)
