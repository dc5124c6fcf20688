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
    """The verdict in one line, with the numbers behind it."""
    return f"{finding.title}: {verdict(finding)}" + "".join(
        f"; {m.words}: {m.value:.3g} ({m.range})" for m in finding.measured
    )


def numbers(finding: Finding) -> str:
    """The measured numbers in one line, without a verdict."""
    return finding.title + "".join(f"; {m.words}: {m.value:.3g}" for m in finding.measured)


def page(findings: list[Finding], title: str) -> str:
    """A self-contained web page with figures and verdicts."""
    return PAGE.format(title=escape(title), body="\n".join(map(section, findings)))


def section(finding: Finding) -> str:
    buffer = io.BytesIO()
    finding.figure.savefig(buffer, dpi=110)
    picture = b64encode(buffer.getvalue()).decode()
    numbers = "".join(f"<li>{escape(m.words)}: {m.value:.3g} ({escape(m.range)})</li>" for m in finding.measured)
    advice = f"<p><b>Where to look:</b> {escape(finding.advice)}</p>" if finding.healthy is False else ""
    return (
        f"<section><h2>{escape(finding.title)}: {verdict(finding)}</h2><p>{escape(finding.question)}</p>"
        f'<img alt="{escape(sentence(finding))}" src="data:image/png;base64,{picture}">'
        f"<ul>{numbers}</ul>{advice}</section>"
    )


PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>{title}</title>
<style>body {{ font: 16px/1.5 sans-serif; max-width: 50rem; margin: 2rem auto; padding: 0 1rem; color: #222 }}
img {{ max-width: 100% }} section {{ border-top: 1px solid #ccc; margin-top: 2rem }}</style>
<h1>{title}</h1>
<p>Each check asks one question. Causality, flow, free nats, the dream by hand, the time limit and the entropy bonus
examine the code that ran just now; the others examine what was stored and learned. The healthy ranges were chosen on
CartPole runs. An alarm may also mean that the agent has not learned enough yet, or that the task differs.</p>
{body}
</html>
"""
