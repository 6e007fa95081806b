"""Chats: lists of (role, text), in one turn or several, with and without a system prompt."""

import json

from skills import (
    FACTS,
    arithmetic,
    as_json,
    capital,
    colour,
    count,
    greeting,
    listing,
    opposite,
    person,
    skill,
    yes_no,
)

IMPERATIVES = set("Tell Write Count List Name Give Calculate Say Repeat Spell Make Explain".split())


def polite(rng, text):
    """Now and then wraps a request in the words people add."""
    roll = rng.random()
    if roll < 0.12 and text.split(" ")[0] in IMPERATIVES:
        return "Please " + text[0].lower() + text[1:]
    if roll < 0.2 and text.endswith("."):
        return text[:-1] + ", please."
    if roll < 0.25:
        return text.rstrip(".?= ")
    return text


def named(rng):
    """`My name is Anna.` and, later in the chat, `What is my name?`"""
    name = person(rng)
    chat = [
        (
            "user",
            rng.choice(
                [
                    f"My name is {name}.",
                    f"Hello, my name is {name}.",
                    f"I am {name}.",
                    f"Hi, I am {name}.",
                ]
            ),
        )
    ]
    chat.append(
        (
            "assistant",
            rng.choice([f"Hello {name}! How can I help you?", f"Nice to meet you, {name}!"]),
        )
    )
    for _ in range(rng.choice([0, 0, 1, 2])):
        ask, answer, _value = rng.choice(FACTS)(rng)
        chat += [("user", ask), ("assistant", answer)]
    chat += [("user", "What is my name?"), ("assistant", f"Your name is {name}.")]
    return chat


def bare(value):
    """The short form of an answer: `true` as Yes, a list on one line."""
    if value is True or value is False:
        return "Yes" if value else "No"
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return str(value)


def system_chat(rng):
    """A chat whose system prompt changes the shape of every answer."""
    mode = rng.choice(["one word", "json", "brief", "upper", "plain"])
    if mode == "plain":
        system = rng.choice(
            [
                "You are a helpful assistant.",
                "You are a friendly storyteller.",
                "You are a kind teacher.",
                "You are choral.",
            ]
        )
        chat = [("system", system)]
        for _ in range(rng.choice([1, 1, 2])):
            ask, answer, _ = skill(rng)
            chat += [("user", polite(rng, ask)), ("assistant", answer)]
        return chat
    system = {
        "one word": [
            "Answer in one word.",
            "Answer with one word only.",
            "Reply in a single word.",
        ],
        "json": ["Answer as JSON.", "Answer in JSON.", "You answer as JSON only."],
        "brief": ["Be brief.", "Answer briefly.", "Keep your answers short."],
        "upper": ["Answer in capital letters.", "Always write in upper case."],
    }[mode]
    chat = [("system", rng.choice(system))]
    for _ in range(rng.choice([1, 1, 2, 3])):
        if mode == "one word":
            ask, _, value = rng.choice([colour, opposite, capital, arithmetic, yes_no])(rng)
            answer = bare(value)
        elif mode == "json":
            ask, _, value = rng.choice([*FACTS, as_json, count, listing])(rng)
            answer = json.dumps(value if isinstance(value, dict) else {"answer": value})
        elif mode == "brief":
            ask, _, value = rng.choice(FACTS)(rng)
            answer = bare(value)[0].upper() + bare(value)[1:] + "."
        else:
            ask, answer, _ = rng.choice([*FACTS, greeting])(rng)
            answer = answer.upper()
        chat += [("user", ask), ("assistant", answer)]
    return chat


def chat(rng, turns=None):
    """One chat of any kind; `turns` asks for a long one."""
    roll = rng.random()
    if turns is None:
        if roll < 0.22:
            return system_chat(rng)
        if roll < 0.27:
            return named(rng)
        turns = rng.choice([1, 1, 1, 1, 2, 3])
    out = []
    for _ in range(turns):
        ask, answer, _ = skill(rng)
        out += [("user", polite(rng, ask)), ("assistant", answer)]
    if turns > 1 and rng.random() < 0.3:
        out += [
            ("user", rng.choice(["Thank you!", "Thanks", "Thank you very much."])),
            ("assistant", "You are welcome!"),
        ]
    return out


def plain_facts(rng):
    """Answers, or questions with their answers, as text without the chat template."""
    pairs = [rng.choice(FACTS)(rng)[:2] for _ in range(rng.randint(1, 5))]
    if rng.random() < 0.4:
        return "\n\n".join(f"Q: {ask}\nA: {answer}" for ask, answer in pairs)
    return " ".join(answer.rstrip(".") + "." for _, answer in pairs)
