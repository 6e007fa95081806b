"""What the model is meant to be able to do, one skill a function.

Each skill returns (question, answer, value), where `value` is the bare answer
for chats that ask for one word or for JSON, or None where there is none.
"""

import json

from grammar import join
from stories import make_hero, odd_name, plot_request, story
from words import (
    ANIMALS,
    BOYS,
    CAN_FLY,
    CAN_SWIM,
    CAPITALS,
    COLOURS,
    FANTASY,
    GIRLS,
    HOBBIES,
    JOBS,
    LISTS,
    NUMBERS,
    OPPOSITES,
    ORDERED,
    PET_NAMES,
    PLAIN_WORDS,
    TOOLS,
    UNKNOWN,
    article,
)  # fmt: skip

ABOUT = (
    "I am choral's demonstration model, a very small language model. I can tell short stories, "
    "count, make lists and answer simple questions."
)


def person(rng):
    return odd_name(rng) if rng.random() < 0.25 else rng.choice(GIRLS + BOYS)


def count(rng):
    style = rng.random()
    if style < 0.6:
        start = rng.randint(0, 30)
        stop = start + rng.randint(2, 14)
        numbers = list(range(start, stop + 1))
        if rng.random() < 0.2:
            numbers.reverse()
        ask = f"Count from {numbers[0]} to {numbers[-1]}."
    elif style < 0.75:
        numbers = list(range(1, rng.randint(3, 20) + 1))
        ask = f"Count to {numbers[-1]}."
    elif style < 0.87:
        numbers = list(range(rng.randint(4, 12), 0, -1))
        ask = rng.choice([f"Count down from {numbers[0]}.", f"Count backwards from {numbers[0]}."])
    else:
        step = rng.choice([2, 5, 10])
        numbers = list(range(step, step * rng.randint(4, 10) + 1, step))
        ask = f"Count by {step}s to {numbers[-1]}."
    return ask, ", ".join(map(str, numbers)) + ".", numbers


def listing(rng):
    what = rng.choice(list(LISTS))
    items = LISTS[what]
    number = rng.randint(2, min(7, len(items)))
    if what in ORDERED and rng.random() < 0.5:
        chosen = items
        ask = rng.choice([f"List the {what}.", f"What are the {what}?", f"Name all the {what}."])
    else:
        chosen = rng.sample(items, number)
        shown = NUMBERS[number] if rng.random() < 0.7 else number
        if what == "colours" and rng.random() < 0.3:
            what = "colors"
        ask = rng.choice(
            [
                f"List {shown} {what}.",
                f"Name {shown} {what}.",
                f"Give me a list of {shown} {what}.",
                f"Tell me {shown} {what}.",
            ]
        )
    roll = rng.random()
    if roll < 0.45:
        answer = "\n".join(f"{i}. {item}" for i, item in enumerate(chosen, 1))
    elif roll < 0.7:
        answer = "\n".join(f"- {item}" for item in chosen)
        ask = ask.rstrip(".?") + " as bullet points."
    else:
        answer = ", ".join(chosen) + "."
        ask = ask.rstrip(".?") + rng.choice(
            [" on one line.", " separated by commas.", ", separated by commas."]
        )
    return ask, answer, list(chosen)


def arithmetic(rng):
    roll = rng.random()
    if roll < 0.55:
        a, b = rng.randint(0, 9), rng.randint(0, 9)
    elif roll < 0.75:
        a, b = rng.randint(0, 20), rng.randint(0, 20)
    else:
        a, b = rng.randint(0, 99), rng.randint(0, 99)
    sign = rng.choice(["+", "+", "+", "-", "*"])
    if sign == "*":
        a, b = rng.randint(0, 10), rng.randint(0, 10)
        value = a * b
        word = "times"
    elif sign == "-":
        a, b = max(a, b), min(a, b)
        value, word = a - b, "minus"
    else:
        value, word = a + b, "plus"
    ask = rng.choice(
        [
            f"What is {a} {sign} {b}?",
            f"What is {a} {sign} {b}?",
            f"What is {a} {word} {b}?",
            f"{a} {sign} {b} = ?",
            f"What is {a}{sign}{b}?",
            f"{a}{sign}{b}",
            f"Calculate {a} {sign} {b}.",
            f"How much is {a} {word} {b}?",
        ]
    )
    return ask, rng.choice([f"{a} {sign} {b} = {value}"]), value


def colour(rng):
    thing, value = rng.choice(list(COLOURS.items()))
    word = rng.choice(["colour", "color"])
    ask = rng.choice(
        [
            f"What {word} is {thing}?",
            f"What is the {word} of {thing}?",
            f"Which {word} is {thing}?",
            f"Tell me the {word} of {thing}.",
        ]
    )
    return ask, f"{thing[0].upper()}{thing[1:]} is {value}.", value


def opposite(rng):
    pair = rng.choice(OPPOSITES)
    word, value = pair if rng.random() < 0.5 else pair[::-1]
    ask = rng.choice(
        [
            f"What is the opposite of {word}?",
            f'What is the opposite of "{word}"?',
            f"Tell me the opposite of {word}.",
            f"Opposite of {word}?",
        ]
    )
    return ask, f"The opposite of {word} is {value}.", value


def capital(rng):
    country, value = rng.choice(list(CAPITALS.items()))
    if rng.random() < 0.25:
        name = country[0].upper() + country[1:]
        return (
            rng.choice(
                [
                    f"{value} is the capital of which country?",
                    f"Which country has the capital {value}?",
                ]
            ),
            f"{value} is the capital of {country}.",
            name,
        )
    ask = rng.choice(
        [
            f"What is the capital of {country}?",
            f"What is the capital city of {country}?",
            f"Tell me the capital of {country}.",
            f"Which city is the capital of {country}?",
        ]
    )
    return ask, f"The capital of {country} is {value}.", value


def job(rng):
    name, does = rng.choice(list(JOBS.items()))
    ask = rng.choice([f"What does {article(name)} do?", f"What is the job of {article(name)}?"])
    if rng.random() < 0.25:
        return f"Who {does}?", f"{article(name).capitalize()} {does}.", name
    return ask, f"{article(name).capitalize()} {does}.", does


def tool(rng):
    name, does = rng.choice(list(TOOLS.items()))
    noun = name if name == "scissors" else article(name)
    verb = "are" if name == "scissors" else "is"
    ask = f"What {verb} {noun} for?" if rng.random() < 0.6 else f"What can I do with {noun}?"
    return ask, f"With {noun} you can {does}.", does


def animal_fact(rng):
    name, (home, food, sound) = rng.choice(list(ANIMALS.items()))
    one = article(name)
    roll = rng.random()
    if sound and roll < 0.5:
        ask = rng.choice(
            [
                f"What sound does {one} make?",
                f"What does {one} say?",
                f"What noise does {one} make?",
            ]
        )
        return ask, f"{one.capitalize()} says {sound}.", sound
    if roll < 0.75:
        return f"Where does {one} live?", f"{one.capitalize()} lives {home}.", home
    return f"What does {one} eat?", f"{one.capitalize()} eats {food}.", food


def echo(rng):
    words = [
        rng.choice(PLAIN_WORDS + [n.lower() for n in PET_NAMES])
        for _ in range(rng.choice([1, 1, 2, 3]))
    ]
    if rng.random() < 0.2:
        words = [odd_name(rng).lower()]
    text = " ".join(words)
    kind = rng.choice(["repeat", "upper", "times", "first", "spell"])
    if kind == "repeat":
        return (
            rng.choice([f"Repeat: {text}", f"Say {text}.", f"Repeat after me: {text}"]),
            text,
            text,
        )
    if kind == "upper":
        ask = rng.choice(
            [
                f"Write {text} in capital letters.",
                f"Uppercase: {text}",
                f"Write {text} in upper case.",
            ]
        )
        return ask, text.upper(), text.upper()
    word = words[0]
    if kind == "times":
        number = rng.randint(2, 6)
        return f"Say {word} {NUMBERS[number]} times.", " ".join([word] * number), [word] * number
    if kind == "first":
        return f"What is the first letter of {word}?", word[0].upper(), word[0].upper()
    return f"Spell {word}.", "-".join(word), "-".join(word)


def yes_no(rng):
    roll = rng.random()
    if roll < 0.3:
        a, b = rng.randint(0, 50), rng.randint(0, 50)
        word = rng.choice(["bigger", "smaller"])
        right = a > b if word == "bigger" else a < b
        return (
            f"Is {a} {word} than {b}?",
            f"{'Yes' if right else 'No'}, {a} is {'' if right else 'not '}{word} than {b}.",
            right,
        )
    if roll < 0.6:
        name = rng.choice(list(ANIMALS))
        word, able = rng.choice([("fly", CAN_FLY), ("swim", CAN_SWIM)])
        right = name in able
        if word == "swim" and not right:
            word, right = "fly", name in CAN_FLY
        return (
            f"Can {article(name)} {word}?",
            f"{'Yes' if right else 'No'}, {article(name)} {'can' if right else 'cannot'} {word}.",
            right,
        )
    thing, value = rng.choice(list(COLOURS.items()))
    shown = (
        value
        if rng.random() < 0.5
        else rng.choice(["red", "blue", "green", "white", "black", "yellow"])
    )
    if shown == value:
        return f"Is {thing} {shown}?", f"Yes, {thing} is {value}.", True
    return f"Is {thing} {shown}?", f"No, {thing} is {value}.", False


FACTS = [colour, opposite, capital, job, tool, animal_fact, arithmetic, yes_no]


def as_json(rng):
    """A request for JSON, and the JSON."""
    roll = rng.randrange(7)
    dumps = json.dumps
    if roll <= 2:
        name, age = person(rng), rng.randint(1, 99)
        fields = {"name": name, "age": age}
        given = [name, str(age)]
        extra = rng.randrange(4)
        if extra == 1:
            fields["city"] = rng.choice(list(CAPITALS.values()))
            given.append(fields["city"])
        elif extra == 2:
            fields["job"] = rng.choice(list(JOBS))
            given.append(fields["job"])
        elif extra == 3:
            fields["hobby"] = rng.choice(HOBBIES)
            given.append(fields["hobby"])
        verb = rng.choice(["Give", "Write", "Make", "Give me"])
        ask = f"{verb} a JSON object with {join(fields)} for {', '.join(given)}."
        if extra == 0 and rng.random() < 0.3:
            ask = f"{name} is {age} years old. Write this as JSON."
        return ask, dumps(fields), fields
    if roll == 3:
        ask, _, items = listing(rng)
        ask = ask.split(" as bullet")[0].split(" on one")[0].split(" separated")[0].rstrip(".?,")
        return f"{ask} as a JSON array.", dumps(items), items
    if roll == 4:
        name, (home, food, sound) = rng.choice([x for x in ANIMALS.items() if x[1][2]])
        fields = {"animal": name, "sound": sound}
        return (
            f"Give a JSON object with animal and sound for {article(name)}.",
            dumps(fields),
            fields,
        )
    if roll == 5:
        country, city = rng.choice(list(CAPITALS.items()))
        fields = {"country": country.removeprefix("the "), "capital": city}
        return f"Give a JSON object with country and capital for {country}.", dumps(fields), fields
    ask, _, value = arithmetic(rng)
    return f"{ask} Answer as JSON.", dumps({"result": value}), value


def story_chat(rng):
    """A request for a story about somebody, something or both."""
    short = rng.random() < 0.3
    adjective = (
        rng.choice(["very short ", "short "])
        if short
        else rng.choice(["", "", "short ", "little "])
    )
    verb = rng.choice(["Tell me", "Write", "Tell me", "Write me", "Tell"])
    head = f"{verb} a {adjective}story"
    kind = rng.choice(["girl", "boy"] + list(ANIMALS) + FANTASY)
    roll = rng.random()
    if roll < 0.3:
        hero = make_hero(rng, kind)
        ask, text = f"{head} about {article(kind)}.", story(rng, hero, short=short)
    elif roll < 0.55:
        hero = make_hero(rng, kind)
        word = rng.choice(["named", "called"])
        ask = f"{head} about {article(kind)} {word} {hero.name}."
        text = story(rng, hero, short=short)
    elif roll < 0.75:
        hero = make_hero(rng, kind)
        subject, plot, wanted = plot_request(rng)
        ask = f"{head} about {article(kind)} and {subject}."
        text = story(rng, hero, plot, wanted, short)
    elif roll < 0.92:
        subject, plot, wanted = plot_request(rng)
        ask, text = f"{head} about {subject}.", story(rng, None, plot, wanted, short)
    else:
        ask, text = f"{head}.", story(rng, short=short)
    return ask, text, None


def greeting(rng):
    ask, answers = rng.choice([
        ("Hello", ["Hello! How can I help you?", "Hello! What would you like to do?"]),
        ("Hello!", ["Hello! How can I help you?", "Hi! Would you like to hear a story?"]),
        ("Hi", ["Hi! How can I help you?", "Hello! What can I do for you?"]),
        ("Hi there!", ["Hi! How can I help you?"]),
        ("Hey", ["Hey! How can I help you?"]),
        ("Good morning", ["Good morning! How can I help you?"]),
        ("Good evening", ["Good evening! How can I help you?"]),
        ("How are you?", ["I am well, thank you. How can I help you?"]),
        ("Thank you!", ["You are welcome!"]), ("Thanks", ["You are welcome!"]),
        ("Goodbye", ["Goodbye! Have a nice day."]), ("Bye", ["Goodbye!"]), ("Good night", ["Good night! Sleep well."]),
        ("Who are you?", [ABOUT]), ("What are you?", [ABOUT]), ("What is your name?", ["I am choral's demonstration model."]),
        ("Who made you?", ["I was trained by a script in the choral repository, on text that the script made itself."]),
        ("What can you do?", ["I can tell short stories, count, make lists, add small numbers and answer simple questions."]),
        ("Are you a human?", ["No, I am a small language model."]), ("Are you a robot?", ["I am a small language model."]),
        ("How big are you?", ["I am very small: I have fewer than six million parameters."]),
        ("Tell me a joke.", ["Why did the clock go to school? It wanted to be on time.", "What do you call a sleeping bull? A bulldozer.",
                             "Why was the book sad? It had too many problems.", "What has keys but opens no door? A piano."]),
        ("Help", ["I can tell short stories, count, make lists and answer simple questions. What would you like?"]),
    ])  # fmt: skip
    return ask, rng.choice(answers), None


def unknown(rng):
    what = rng.choice(UNKNOWN)
    if rng.random() < 0.3:
        what = odd_name(rng)
        if rng.random() < 0.5:
            return (
                f"What is the capital of {what}?",
                f"I am sorry, I do not know the capital of {what}.",
                None,
            )
    ask = rng.choice(
        [
            f"Tell me about {what}.",
            f"What do you know about {what}?",
            f"Explain {what}.",
            f"Can you explain {what}?",
            f"What about {what}?",
        ]
    )
    return (
        ask,
        rng.choice(
            [
                f"I am sorry, I do not know about {what}. I am a very small model.",
                f"I am sorry, I do not know enough about {what}. I can tell you a story instead.",
            ]
        ),
        None,
    )


SKILLS = [
    (story_chat, 24), (count, 10), (listing, 9), (arithmetic, 12), (colour, 4), (opposite, 4), (capital, 5),
    (job, 3), (tool, 3), (animal_fact, 5), (echo, 9), (yes_no, 7), (as_json, 12), (greeting, 5), (unknown, 4),
]  # fmt: skip


def skill(rng):
    return rng.choices([s for s, _ in SKILLS], [w for _, w in SKILLS])[0](rng)
