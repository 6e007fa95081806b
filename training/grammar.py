"""Expands templates: `{a|b}` picks one, `{name}` looks a name up, nested as you like."""

import re

INNERMOST = re.compile(r"\{([^{}]*)\}")
SENTENCE_START = re.compile(r"(^\"?|[.!?] +\"?|[.]\" +\"?|\n\"?)([a-z])")


def fill(rng, text, names=None):
    """Expands every brace of `text`, innermost first, then capitalises sentences."""

    def expand(match):
        body = match.group(1)
        if "|" in body:
            return rng.choice(body.split("|"))
        return str(names[body])

    while "{" in text:
        text = INNERMOST.sub(expand, text)
    return SENTENCE_START.sub(lambda m: m.group(1) + m.group(2).upper(), text)


def join(items, word="and"):
    """`a`, `a and b`, `a, b and c`."""
    items = list(items)
    if len(items) < 2:
        return "".join(items)
    return ", ".join(items[:-1]) + f" {word} " + items[-1]
