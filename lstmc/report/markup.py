"""Elements of the page. It is well-formed XML too, so that any parser reads it."""

from __future__ import annotations

import html

from ..terminal import printable

Attribute = str | int | float


def text(words: object) -> str:
    """What comes from a file: nothing in it is markup, nothing is a control character."""
    return html.escape(printable(str(words)).replace("\n", " "), quote=True)


def element(tag: str, *inside: str, **attributes: Attribute) -> str:
    """An element of markup; attributes are escaped, ``class_`` and ``for_`` lose their underscore,
    others have a hyphen for it."""
    words = "".join(
        f' {name.rstrip("_").replace("_", "-")}="{_value(value)}"'
        for name, value in attributes.items()
    )
    if not inside and tag not in ("div", "span", "td", "th", "p", "figure", "title"):
        return f"<{tag}{words} />"
    return f"<{tag}{words}>{''.join(inside)}</{tag}>"


def _value(value: Attribute) -> str:
    if isinstance(value, float):
        return f"{value:.2f}".rstrip("0").rstrip(".")
    return text(value)


def picture(width: float, height: float, label: str, *inside: str, **attributes: Attribute) -> str:
    """An SVG that is one image to who can't see it, described by its label."""
    return element(
        "svg", element("title", text(label)), *inside, viewBox=f"0 0 {width:.0f} {height:.0f}",
        width=round(width), height=round(height), role="img", aria_label=label, **attributes,
    )  # fmt: skip


def fitted(words: str, room: int) -> str:
    """A text of at most so many characters, shortened in its middle."""
    words = printable(" ".join(words.split()))
    if len(words) <= room:
        return words
    head = (room - 1) // 3
    return f"{words[:head]}…{words[-(room - 1 - head) :]}"
