"""Questions about one picture or two, and their answers.

Answers count before they conclude ("4 circles in the first picture, 2 in the second: the
first has more."), which a small model needs: the conclusion can look at the counts. The
words of a question are drawn from paraphrases, now and then without capitals or a question
mark, so that typed questions work too. Knows the scenes of `scenes.py`, not their pixels.
"""

from collections import Counter

from scenes import COLOURS, GROUNDS, HIDDEN, SHAPES, place_of, sample_one


def listed(parts):
    """Words joined as in "a, b and c"."""
    return parts[0] if len(parts) == 1 else ", ".join(parts[:-1]) + " and " + parts[-1]


def many(count, noun):
    """A count with its noun: "no circles", "1 circle", "2 circles"."""
    return f"{'no' if count == 0 else count} {noun}{'' if count == 1 else 's'}"


def groups(scene):
    """The kinds of thing in a scene as "3 red circles", by colour and then by shape."""
    kinds = Counter((c, s) for s, c, *_ in scene[0])
    return [many(n, f"{COLOURS[c]} {SHAPES[s]}") for (c, s), n in sorted(kinds.items())]


def colours_of(scene, shape=None):
    return [COLOURS[c] for c in sorted({c for s, c, *_ in scene[0] if shape in (None, s)})]


def shapes_of(scene):
    return [SHAPES[s] + "s" for s in sorted({s for s, *_ in scene[0]})]


def count(scene, shape=None, colour=None):
    return sum(shape in (None, s) and colour in (None, c) for s, c, *_ in scene[0])


def noun(shape, colour):
    words = [COLOURS[colour]] if colour is not None else []
    return " ".join([*words, SHAPES[shape] if shape is not None else "shape"])


def subject(rng, scenes):
    """A shape, a colour, or both, to ask about: mostly one that is in one of the scenes."""
    things = [t for scene in scenes for t in scene[0]]
    shape, colour = things[int(rng.integers(len(things)))][:2]
    style = rng.random()
    if rng.random() < 0.2:
        shape, colour = int(rng.integers(len(SHAPES))), int(rng.integers(len(COLOURS)))
    if style < 0.45:
        return shape, None
    return (shape, colour) if style < 0.85 else (None, colour)


def said(rng, options, **words):
    """One of the paraphrases, filled in, now and then typed carelessly."""
    text = options[int(rng.integers(len(options)))]
    picture = ("picture", "picture", "image", "photo")[int(rng.integers(4))]
    text = text.format(P=picture, **words)
    style = rng.random()
    if style < 0.12:
        text = text.lower()
    elif style < 0.2:
        text = text.rstrip("?.")
    elif style < 0.25:
        text = text.lower().rstrip("?.")
    return text


# One picture.


def describe(rng, scene):
    question = said(
        rng,
        [
            "Describe the {P}.",
            "Describe this {P}.",
            "What is in the {P}?",
            "What do you see?",
            "What is shown in this {P}?",
            "Describe what you see in the {P}.",
            "What does the {P} show?",
            "What's in this {P}?",
            "Describe the {P} in one sentence.",
            "Tell me what is in the {P}.",
            "Describe this {P} briefly.",
            "Describe this {P} in detail.",
            "Please describe the {P}.",
            "Describe.",
        ],
    )
    return question, f"{listed(groups(scene))} on a {GROUNDS[scene[1]]} background.".capitalize()


def how_many(rng, scene):
    shape, colour = subject(rng, [scene])
    if rng.random() < 0.15:
        shape = colour = None
    name = noun(shape, colour)
    question = said(
        rng,
        [
            "How many {n}s are there?",
            "How many {n}s are in the {P}?",
            "How many {n}s do you see?",
            "How many {n}s can you see in this {P}?",
            "Count the {n}s.",
            "Count the {n}s in the {P}.",
            "What is the number of {n}s?",
            "How many {n}s does the {P} have?",
            "How many {n}s?",
        ],
        n=name,
    )
    number = count(scene, shape, colour)
    return question, f"There {'is' if number == 1 else 'are'} {many(number, name)}."


def is_there(rng, scene):
    shape, colour = subject(rng, [scene])
    if rng.random() < 0.3:
        shape, colour = int(rng.integers(len(SHAPES))), int(rng.integers(len(COLOURS)))
    name = noun(shape, colour)
    a = "an" if name[0] == "o" else "a"
    question = said(
        rng,
        [
            "Is there {a} {n}?",
            "Is there {a} {n} in the {P}?",
            "Are there any {n}s?",
            "Are there any {n}s in the {P}?",
            "Do you see {a} {n}?",
            "Does the {P} show {a} {n}?",
            "Can you see any {n}s?",
        ],
        n=name,
        a=a,
    )
    number = count(scene, shape, colour)
    return question, f"Yes, {many(number, name)}." if number else f"No, there is no {name}."


def where(rng, scene):
    shape, colour = subject(rng, [scene])
    kinds = Counter((s, c) for s, c, *_ in scene[0])
    single = [kind for kind, n in kinds.items() if n == 1]
    if single and rng.random() < 0.9:
        shape, colour = single[int(rng.integers(len(single)))]
        if rng.random() < 0.5 and count(scene, shape) == 1:
            colour = None
    elif shape is None or count(scene, shape, colour) > 1:
        return how_many(rng, scene)
    name = noun(shape, colour)
    question = said(
        rng,
        [
            "Where is the {n}?",
            "Where is the {n} in the {P}?",
            "Where do you see the {n}?",
            "In which part of the {P} is the {n}?",
            "What is the position of the {n}?",
            "Where's the {n}?",
        ],
        n=name,
    )
    for s, c, x, y, *_ in scene[0]:
        if s == shape and colour in (None, c):
            return question, f"The {name} is {place_of(x, y)}."
    return question, f"There is no {name}."


def what_colour(rng, scene):
    shape = scene[0][int(rng.integers(len(scene[0])))][0]
    if rng.random() < 0.1:
        shape = int(rng.integers(len(SHAPES)))
    number, name = count(scene, shape), SHAPES[shape]
    if number == 0:
        answer = f"There is no {name}."
    else:
        are = f"{name} is" if number == 1 else f"{name}s are"
        answer = f"The {are} {listed(colours_of(scene, shape))}."
    words = {"n": name if number <= 1 else name + "s", "is_": "is" if number <= 1 else "are"}
    options = [
        "What colour {is_} the {n}?",
        "What color {is_} the {n}?",
        "Which colour {is_} the {n}?",
        "What colour {is_} the {n} in the {P}?",
        "What is the colour of the {n}?",
    ]
    return said(rng, options, **words), answer


def what_ground(rng, scene):
    question = said(
        rng,
        [
            "What colour is the background?",
            "What color is the background?",
            "Which colour is the background of the {P}?",
            "What is the background colour?",
            "What is the background?",
        ],
    )
    return question, f"The background is {GROUNDS[scene[1]]}."


def which_colours(rng, scene):
    question = said(
        rng,
        [
            "Which colours are there?",
            "What colours do the shapes have?",
            "What colors are in the {P}?",
            "Which colours do you see in the {P}?",
            "What colour are the shapes?",
            "List the colours.",
        ],
    )
    return question, f"The shapes are {listed(colours_of(scene))}."


def which_shapes(rng, scene):
    question = said(
        rng,
        [
            "Which shapes are there?",
            "What shapes do you see?",
            "Which shapes are in the {P}?",
            "What shapes does the {P} show?",
            "What kinds of shapes are there?",
            "List the shapes.",
        ],
    )
    return question, f"There are {listed(shapes_of(scene))}."


# Two pictures.


def more(rng, first, second):
    shape, colour = subject(rng, [first, second])
    if rng.random() < 0.2:
        shape = colour = None
    name = noun(shape, colour)
    a, b = count(first, shape, colour), count(second, shape, colour)
    fewer = rng.random() < 0.2
    word = "fewer" if fewer else "more"
    options = [
        "Which {P} has {m} {n}s?",
        "Which {P} has {m} {n}s?",
        "Which of the two {P}s has {m} {n}s?",
        "Which {P} shows {m} {n}s?",
        "Where are there {m} {n}s, in the first or the second {P}?",
        "Which one has {m} {n}s?",
        "Which {P} contains {m} {n}s?",
        "In which {P} are there {m} {n}s?",
        "Which has {m} {n}s, the first {P} or the second?",
    ]
    if not fewer:
        options += ["Which {P} has the most {n}s?", "Compare the number of {n}s."]
    question = said(rng, options, n=name, m=word)
    left = f"{many(a, name)} in the first picture, {b or 'none'} in the second"
    if a == b:
        end = "the same number."
    else:
        end = f"the {'first' if (a > b) != fewer else 'second'} has {word}."
    return question, f"{left}: {end}".capitalize()


def same_number(rng, first, second):
    shape, colour = subject(rng, [first, second])
    if rng.random() < 0.2:
        shape = colour = None
    name = noun(shape, colour)
    a, b = count(first, shape, colour), count(second, shape, colour)
    question = said(
        rng,
        [
            "Do the two {P}s have the same number of {n}s?",
            "Do both {P}s have the same number of {n}s?",
            "Do the {P}s show the same number of {n}s?",
            "Are there as many {n}s in the first {P} as in the second?",
            "Is the number of {n}s the same in both {P}s?",
        ],
        n=name,
    )
    left = f"{many(a, name)} in the first picture, {b or 'none'} in the second"
    return (
        question,
        f"{left}: {'the same number' if a == b else 'not the same number'}.".capitalize(),
    )


def same_colours(rng, first, second):
    both = {s for s, *_ in first[0]} & {s for s, *_ in second[0]}
    if both and rng.random() < 0.35:
        shape = sorted(both)[int(rng.integers(len(both)))]
        options = [
            "Are the {n}s in the two {P}s the same colour?",
            "Do the {n}s in both {P}s have the same colour?",
            "Is the colour of the {n}s the same in both {P}s?",
            "Are the {n}s in both {P}s the same color?",
        ]
        question = said(rng, options, n=SHAPES[shape])
    else:
        shape = None
        options = [
            "Do the two {P}s show the same colours?",
            "Do the two {P}s show the same colour?",
            "Are the colours the same?",
            "Do both {P}s have the same colours?",
            "Are the shapes in the two {P}s the same colour?",
            "Same colours or different colours?",
            "Same or different colour?",
            "Do the {P}s show the same colors?",
            "Compare the colours.",
        ]
        question = said(rng, options)
    a, b = colours_of(first, shape), colours_of(second, shape)
    end = "the same" if a == b else "not the same"
    return (
        question,
        f"{listed(a)} in the first picture, {listed(b)} in the second: {end}.".capitalize(),
    )


def same_shapes(rng, first, second):
    question = said(
        rng,
        [
            "Do the two {P}s show the same shapes?",
            "Are the shapes the same?",
            "Do both {P}s have the same shapes?",
            "Same shapes or different shapes?",
            "Do the {P}s show the same kinds of shapes?",
            "Compare the shapes.",
        ],
    )
    a, b = shapes_of(first), shapes_of(second)
    end = "the same" if a == b else "not the same"
    return (
        question,
        f"{listed(a)} in the first picture, {listed(b)} in the second: {end}.".capitalize(),
    )


def same_ground(rng, first, second):
    question = said(
        rng,
        [
            "Do the two {P}s have the same background?",
            "Is the background the same in both {P}s?",
            "Are the backgrounds the same colour?",
            "Do both {P}s have the same background colour?",
            "Compare the backgrounds.",
        ],
    )
    a, b = GROUNDS[first[1]], GROUNDS[second[1]]
    end = "the same" if a == b else "not the same"
    return question, f"{a} in the first picture, {b} in the second: {end}.".capitalize()


ASIDES = (
    "What is the same and what is different?",
    "What are the differences?",
    "Describe the similarities and the differences.",
    "Describe the main differences.",
    "How are they alike, and how do they differ?",
    "What do they have in common?",
    "Which one has more shapes?",
    "Be brief.",
    "Answer in a few sentences.",
    "Answer in one or two sentences.",
    "Keep it short.",
    "Which one is better, and why?",
    "Say what each one shows.",
    "First describe each one, then compare them.",
    "Look at the colours, the shapes and the numbers.",
    "Explain briefly.",
)


# What choral asks about a pair where nobody says what to ask.
BUILT_IN = (
    "Compare these two images, the first (A) and the second (B). Say what each one shows and "
    "how they differ. Then say which of the two is better, A or B, and why."
)


def compare(rng, first, second):
    question = said(
        rng,
        [
            "Compare the two {P}s.",
            "Compare these two {P}s.",
            "Compare the two {P}s.",
            "Compare these {P}s.",
            "Compare them.",
            "Compare the first {P} with the second.",
            "What is the difference between the two {P}s?",
            "What are the differences between these {P}s?",
            "How do the two {P}s differ?",
            "What is different?",
            "What is the same and what is different in the two {P}s?",
            "Describe both {P}s.",
            "Describe the two {P}s.",
            "What is in the two {P}s?",
            "Describe the differences between these two {P}s.",
            "Briefly compare these two {P}s.",
            "Here are two {P}s. Compare them.",
            "You see two {P}s. Compare them.",
        ],
    )
    for _ in range(int(rng.choice([0, 1, 2], p=[0.5, 0.3, 0.2]))):
        question = f"{question} {ASIDES[int(rng.integers(len(ASIDES)))]}"
    if rng.random() < 0.3:
        question = BUILT_IN
    a, b = len(first[0]), len(second[0])
    if a == b:
        end = "Both have the same number of shapes."
    else:
        end = f"The {'first' if a > b else 'second'} has more shapes."
    parts = [
        f"{which} picture: {listed(groups(s))} on {GROUNDS[s[1]]}."
        for which, s in (("First", first), ("Second", second))
    ]
    return question, " ".join([*parts, end])


def describe_one(rng, first, second):
    which = int(rng.integers(2))
    question = said(
        rng,
        [
            "Describe the {w} {P}.",
            "What is in the {w} {P}?",
            "What does the {w} {P} show?",
            "What do you see in the {w} {P}?",
        ],
        w=("first", "second")[which],
    )
    scene = (first, second)[which]
    return question, f"{listed(groups(scene))} on a {GROUNDS[scene[1]]} background.".capitalize()


def how_many_in(rng, first, second):
    which = int(rng.integers(2))
    scene = (first, second)[which]
    shape, colour = subject(rng, [scene])
    name = noun(shape, colour)
    question = said(
        rng,
        [
            "How many {n}s are in the {w} {P}?",
            "How many {n}s does the {w} {P} have?",
            "Count the {n}s in the {w} {P}.",
            "How many {n}s are there in the {w} {P}?",
        ],
        n=name,
        w=("first", "second")[which],
    )
    number = count(scene, shape, colour)
    return question, f"There {'is' if number == 1 else 'are'} {many(number, name)}."


ONE = {  # and how often each is asked
    describe: 5,
    how_many: 5,
    is_there: 2,
    where: 3,
    what_colour: 2,
    what_ground: 1,
    which_colours: 1,
    which_shapes: 1,
}
TWO = {
    more: 8,
    same_number: 2,
    same_colours: 5,
    same_shapes: 2,
    same_ground: 1,
    compare: 6,
    describe_one: 1,
    how_many_in: 1,
}


def draw_from(rng, kinds):
    names = list(kinds)
    weights = [kinds[n] for n in names]
    return names[int(rng.choice(len(names), p=[w / sum(weights) for w in weights]))]


def sample_pair(rng):
    """Two scenes that are alike often enough for "the same" to be a fair answer."""
    first, second = sample_one(rng), sample_one(rng)
    style = rng.random()
    things = second[0]
    if style < 0.35:  # the kinds of the first, in other numbers
        kinds = sorted({t[:2] for t in first[0]})
        while len(things) < len(kinds):
            things = sample_one(rng)[0]
        picks = [*kinds, *(kinds[int(i)] for i in rng.integers(len(kinds), size=8))]
        order = rng.permutation(len(things))
        things = [(*picks[int(i)], *t[2:]) for i, t in zip(order, things, strict=True)]
    elif style < 0.5:  # one colour of the first
        colour = first[0][0][1]
        things = [(t[0], colour, *t[2:]) for t in things]
    elif style < 0.65:  # one shape of the first
        shape = first[0][0][0]
        things = [(shape, *t[1:]) for t in things]
    grounds = [
        g for g in range(len(GROUNDS)) if HIDDEN.get(g) not in {COLOURS[t[1]] for t in things}
    ]
    ground = second[1] if second[1] in grounds else grounds[int(rng.integers(len(grounds)))]
    if first[1] in grounds and rng.random() < 0.3:
        ground = first[1]
    return first, (things, ground)
