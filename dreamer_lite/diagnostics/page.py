"""Findings as sentences and as a web page."""

from base64 import b64encode
from html import escape
import io

from .checks import Finding


def verdict(finding: Finding) -> str:
    if finding.healthy is None:
        return "could not be judged"
    return "looks healthy" if finding.healthy else "does not look healthy"


def sentence(finding: Finding) -> str:
    """The verdict in one line, with the numbers behind it: of a sick finding, those that are out of their ranges."""
    shown = [m for m in finding.measured if m.healthy == finding.healthy]
    return f"{finding.title}: {verdict(finding)}" + "".join(f"; {m.words}: {m.value:.3g} ({m.range})" for m in shown)


def summary(findings: list[Finding]) -> str:
    """All verdicts in one line."""
    healthy = [finding.healthy for finding in findings]
    sick, unknown = healthy.count(False), healthy.count(None)
    all_well = f"all {len(healthy)} checks look healthy"
    words = all_well if sick == unknown == 0 else f"{healthy.count(True)} of {len(healthy)} checks look healthy"
    return (
        words + f", {sick} do{'es' * (sick == 1)} not" * bool(sick) + f", {unknown} could not be judged" * bool(unknown)
    )


def numbers(finding: Finding) -> str:
    """The measured numbers in one line, without a verdict."""
    return finding.title + "".join(f"; {m.words}: {m.value:.3g}" for m in finding.measured)


def page(findings: list[Finding], title: str) -> str:
    """A self-contained web page with figures and verdicts; first what to look at."""
    links = "".join(
        f'<li><a href="#{number}">{escape(finding.title)}</a>: {verdict(finding)}</li>'
        for number, finding in enumerate(findings)
        if not finding.healthy
    )
    body = [section(finding, number) for number, finding in enumerate(findings)]
    return PAGE.format(title=escape(title), summary=summary(findings), links=links, body="\n".join(body))


def section(finding: Finding, number: int) -> str:
    buffer = io.BytesIO()
    finding.figure.savefig(buffer, dpi=110)
    picture = b64encode(buffer.getvalue()).decode()
    lines = [(f"{escape(m.words)}: {m.value:.3g} ({escape(m.range)})", m.healthy) for m in finding.measured]
    numbers = "".join(f"<li>{line}</li>" if well else f"<li><b>{line}: out of it</b></li>" for line, well in lines)
    advice = f"<p><b>Where to look:</b> {escape(finding.advice)}</p>" if finding.healthy is False else ""
    return (
        f'<section id="{number}"><h2>{escape(finding.title)}: {verdict(finding)}</h2><p>{escape(finding.question)}</p>'
        f'<img alt="{escape(sentence(finding))}" src="data:image/png;base64,{picture}">'
        f"<ul>{numbers}</ul>{advice}</section>"
    )


PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>{title}</title>
<style>body {{ font: 16px/1.5 sans-serif; max-width: 50rem; margin: 2rem auto; padding: 0 1rem; color: #222 }}
img {{ max-width: 100% }} section {{ border-top: 1px solid #ccc; margin-top: 2rem }}</style>
<h1>{title}</h1>
<p><b>{summary}.</b></p><ul>{links}</ul>
<p>Each check asks one question. Causality, flow, free nats, the dream by hand, the time limit and the entropy bonus
examine the code that ran just now; the others examine what was stored and learned. The healthy ranges were chosen on
CartPole runs. An alarm may also mean that the agent has not learned enough yet, or that the task differs.</p>
{body}
</html>
"""
