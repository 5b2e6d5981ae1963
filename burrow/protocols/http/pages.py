"""The pages: what burrow itself answers, for browsers and for everything else (contract 5.2)."""

from __future__ import annotations

from dataclasses import dataclass
from email.utils import formatdate
from html import escape

from burrow.http.request import RequestHead
from burrow.http.writer import reason_of, write_response

STYLE = """\
:root{color-scheme:light dark;
--ink:#1c2430;--soft:#5b6675;--paper:#f6f4ef;--card:#fff;--line:#e3dfd5;--mark:#a4551e}
@media(prefers-color-scheme:dark){:root{
--ink:#e8e6e1;--soft:#9aa3ae;--paper:#14171c;--card:#1d2128;--line:#2e343d;--mark:#e89a5f}}
*{box-sizing:border-box}body{margin:0;min-height:100vh;display:grid;place-items:center;padding:1.5rem;
background:var(--paper);color:var(--ink);font:1rem/1.6 system-ui,sans-serif}
main{width:100%;max-width:38rem;background:var(--card);border:1px solid var(--line);border-radius:.9rem;
padding:2rem 2.2rem;box-shadow:0 1px 2px #0001,0 8px 30px #0001;overflow-wrap:anywhere}
.status{margin:0;color:var(--mark);font-weight:600;letter-spacing:.02em}
h1{margin:.3rem 0 1rem;font-size:1.45rem;line-height:1.3}
p{margin:.6rem 0}.more{color:var(--soft)}
footer{margin-top:1.6rem;padding-top:.8rem;
border-top:1px solid var(--line);color:var(--soft);font-size:.85rem}
"""
DOCUMENT = """\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
{style}</style>
</head>
<body>
<main>
<p class="status">{title}</p>
<h1>{message}</h1>
{details}
<footer>{sender}</footer>
</main>
</body>
</html>
"""
RELAY, CLIENT = "burrow relay", "burrow client"
ALWAYS = (
    ("Cache-Control", "no-store"),
    ("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'"),
    ("X-Content-Type-Options", "nosniff"),
)


@dataclass(frozen=True)
class Page:
    """One answer of our own.

    Attributes:
        status: 400 to 599.
        message: One sentence; what happened.
        details: Further sentences; what it means, what to do.
        fields: Fields of the head beside the usual ones.
        sender: Which program says so.
    """

    status: int
    message: str
    details: tuple[str, ...] = ()
    fields: tuple[tuple[str, str], ...] = ()
    sender: str = RELAY

    @property
    def title(self) -> str:
        """The status and its reason."""
        return f"{self.status} {reason_of(self.status)}".rstrip()


def render(page: Page, head: RequestHead | None, close: bool) -> bytes:
    """Return a page as a whole answer: HTML for who accepts that, else plain text.

    Args:
        page: What to say.
        head: The request that it answers, if it could be read.
        close: The connection ends behind it.
    """
    html = head is not None and any(b"text/html" in value.lower() for value in head.values(b"accept"))
    body = _html(page) if html else _text(page)
    fields = [
        ("Date", formatdate(usegmt=True)),
        ("Content-Type", f"text/{'html' if html else 'plain'}; charset=utf-8"),
        *ALWAYS,
        *page.fields,
        *([("Connection", "close")] if close else []),
    ]
    head_only = head is not None and head.method == "HEAD"
    return write_response(page.status, fields, body.encode(), head_only)


def _text(page: Page) -> str:
    lines = [page.title, "", page.message, *page.details]
    return "\n".join("".join(c if c.isprintable() else "?" for c in line) for line in lines) + "\n"


def _html(page: Page) -> str:
    details = "\n".join(f'<p class="more">{escape(line)}</p>' for line in page.details)
    return DOCUMENT.format(
        title=escape(page.title),
        style=STYLE,
        message=escape(page.message),
        details=details,
        sender=escape(page.sender),
    )
