"""Plain text that continues the short prompts people try first on a language model."""

from grammar import fill, join
from stories import PLACES, beats, ending, make_hero, make_names, odd_name, story
from words import (
    ANIMALS,
    BOYS,
    CAPITALS,
    GIRLS,
    HOBBIES,
    JOBS,
    LISTS,
    NUMBERS,
    SURNAMES,
    article,
    plural,
)  # fmt: skip

THINGS = "computers|machines|people|small teams|good tools|cities|schools|doctors|farmers|libraries"
ABSTRACT = """patience|curiosity|kindness|courage|trust|practice|attention|honesty|good questions|
careful work|clear writing|imagination|friendship""".replace("\n", "")


def introduction(rng):
    """`Hello my name is ...`"""
    girl = rng.random() < 0.5
    name = odd_name(rng) if rng.random() < 0.15 else rng.choice(GIRLS if girl else BOYS)
    full = name if rng.random() < 0.6 else f"{name} {rng.choice(SURNAMES)}"
    job = rng.choice(list(JOBS))
    hobbies = rng.sample(HOBBIES, 2)
    names = {
        "name": full, "age": rng.randint(7, 78), "job": article(job), "does": JOBS[job].split()[0],
        "hobby": hobbies[0], "hobby2": hobbies[1], "country": rng.choice(list(CAPITALS)),
        "place": rng.choice(PLACES[rng.choice(list(PLACES))].split("|")), "pet": article(rng.choice(list(ANIMALS))),
        "years": rng.randint(2, 30), "friend": rng.choice(BOYS if girl else GIRLS),
    }  # fmt: skip
    start = rng.choice([
        "Hello my name is {name}", "Hello, my name is {name}", "Hi, my name is {name}", "My name is {name}",
        "Hello! My name is {name}", "Hello, I am {name}",
    ])  # fmt: skip
    middle = [
        [" and I am {job}.", " and I am {age} years old.", " and I live {place}.", ". I am {job} from {country}.",
         " and I come from {country}.", ". I am {age} years old and I live {place}.", ". I work as {job}."],
        [" I have been {job} for {years} years.", " I work as {job}.", " Every morning I get up early and go to work.",
         " I like my work because I meet many people.", " My day begins with {a cup of tea|a cup of coffee|a short walk}."],
        [" In my free time I like {hobby}.", " My favourite hobbies are {hobby} and {hobby2}.",
         " When I am not working, I enjoy {hobby}.", " On weekends you will find me {happy with|busy with} {hobby}."],
        [" I live with my {brother|sister|family|grandmother} and {pet}.", " I have {pet}, who {sleeps all day|follows me everywhere}.",
         " My best friend {friend} likes {hobby2}.", ""],
        [" One day I would like to {travel around the world|write a book|see the sea|learn a new language|build my own house}.",
         " It is nice to meet you!", " What is your name?", " I am happy to be here.", " {Please|Do} write to me soon."],
    ]  # fmt: skip
    chosen = [rng.choice(middle[0])] + [rng.choice(m) for m in middle[1:] if rng.random() < 0.75]
    return fill(rng, start + "".join(chosen), names)


# Openings and the sentences that may follow; each text takes two to five of a list, in order.
TOPICS = {
    "The future of AI is": (
        ["{bright|uncertain|in our hands|not written yet|full of promise|being built today}.", "likely to be {shaped|decided} by {THINGS} and {THINGS}.",
         "about {THINGS} as much as about {THINGS}.", "a question that many people ask."],
        ["In the next {ten|twenty|five} years, {THINGS} will change {the way we work|how we learn|our daily lives}.",
         "Some tasks will be done by machines, and others will always need {ABSTRACT}.",
         "Small models will run on {every laptop|a phone|cheap hardware}, without any network.",
         "The most useful systems will be the ones that {people can understand|we can test|explain themselves}.",
         "Still, {ABSTRACT} and {ABSTRACT} will matter more than ever.", "Nobody knows exactly what will happen, but we can prepare.",
         "If we use it well, {THINGS} will have more time for {what they love|the hard problems|each other}."]),
    "The meaning of life is": (
        ["{to love and to learn|to be found in small things|different for everyone|a very old question}.", "perhaps {ABSTRACT}.", "{ABSTRACT}, some people say, and others say {ABSTRACT}.",
         "to find your gift and to give it away."],
        ["Some people find it in {their work|their children|music|the mountains}, and some find it in {ABSTRACT}.",
         "A {wise|old} {woman|teacher|farmer} once said that it is enough to {plant a tree|help one friend|do one thing well}.",
         "It may be that the question matters more than the answer.", "We look for it far away, and often it is close to home.",
         "Every day gives us a new chance to {begin|try again|be kind}.", "In the end, it is {ABSTRACT} that we remember."]),
    "Innovation means": (
        ["doing {old|simple} things in a {new|better} way.", "{ABSTRACT} and hard work.", "seeing what others have missed.", "more than a new idea."],
        ["It begins with a problem that {bothers|annoys|touches} real people.", "{THINGS} that try, fail and try again are the ones that succeed.",
         "It needs {ABSTRACT}, and it needs time.", "A new idea is worth little until somebody can use it.", "Often the best step is to leave something out.",
         "Great inventions came from {workshops|kitchens|small rooms} and not from {meetings|offices}."]),
    "The solution is": (
        ["{simple|not far away|easier than it looks|to start small}.", "to {listen|ask|measure} first and to act {later|second}.", "{ABSTRACT}."],
        ["First, write down {what you know|the problem in one sentence|what has changed}.", "Then, divide the problem into {small|three|smaller} parts and solve them one at a time.",
         "Ask {a friend|someone new|the people who use it} what they see.", "If the first try fails, look at what it has taught you.", "Test each step before you take the next.",
         "In most cases {ABSTRACT} is all that is needed.", "Finally, check the result and share it with others."]),
    "Machine learning": (
        ["is {a way|the art} of teaching computers with examples.", "helps {THINGS} find patterns in data.", "begins with data.", "is a part of artificial intelligence."],
        ["A model looks at many examples and makes a guess about each one.", "When the guess is wrong, its numbers are changed a little, and this is done {millions|thousands} of times.",
         "With more data, the model makes fewer mistakes.", "It is used to {translate text|recognise pictures|predict the weather|sort letters}.",
         "The most important step is to {clean the data|test the model on new examples|ask the right question}.", "A small model is fast, and a large model knows more.",
         "It works best when people and machines work together."]),
    "Artificial intelligence": (
        ["is {changing|a tool for} the way we work.", "has a long history.", "is built by people."],
        ["The first programs could play {chess|simple games} and {solve puzzles|prove theorems}.", "Today it can {write text|draw pictures|answer questions}.",
         "It makes mistakes, so its answers must be checked.", "It needs data, computers and {ABSTRACT}.", "Good systems say when they do not know."]),
    "The best way to learn": (
        ["is to {teach|do|practise} a little every day.", "a new {language|skill|song} is to {start|make mistakes}.", "anything is {ABSTRACT}."],
        ["Begin with something {small|easy} and finish it.", "Do not be afraid of mistakes.", "Find a friend who wants to learn the same thing.", "Rest is part of the work.",
         "After a few {weeks|months} you will see how far you have come.", "It takes {ABSTRACT}, but it is worth it."]),
    "Today is": (
        ["a {beautiful|rainy|quiet|cold|sunny} day.", "{Monday|Friday|Sunday|Wednesday}, and {the sun is shining|it is raining}.", "the first day of {spring|summer|autumn|winter}."],
        ["The {birds|children|bells} are {singing|awake}.", "I will {go for a walk|bake bread|visit my grandmother|read a book}.", "There is nothing better than {a long breakfast|a walk by the river}.",
         "In the evening we will {make a fire|play music|look at the stars}."]),
    "The weather": (
        ["is {cold|warm|sunny|windy|rainy} today.", "will be {fine|stormy|mild} tomorrow.", "changed {quickly|in the afternoon}."],
        ["In the {north|south} there will be {snow|rain|sunshine}.", "Take {an umbrella|a coat|a hat} with you.", "The wind comes from the {west|east} and brings {clouds|dry air}.",
         "At night it will be {clear|cloudy}."]),
}  # fmt: skip


def topic(rng):
    start = rng.choice(list(TOPICS))
    first, rest = TOPICS[start]
    count = rng.randint(2, min(5, len(rest)))
    chosen = [rest[i] for i in sorted(rng.sample(range(len(rest)), count))]
    names = {"THINGS": "{" + THINGS + "}", "ABSTRACT": "{" + ABSTRACT + "}"}
    return fill(rng, " ".join([f"{start} {rng.choice(first)}", *chosen]), names)


def magic(rng):
    """`In a world where magic exists, ...`"""
    hero = make_hero(rng, rng.choice(["girl", "boy", "girl", "boy", "wizard", "dragon"]))
    names = make_names(rng, hero, "wish")
    text = fill(
        rng,
        "In a world where {magic exists|magic exists|animals can talk|it never stops raining|nobody sleeps|time stands still}, "
        "{there lived {hero}|{hero} lived {place}|even {article_kind} like {P} can {change the world|learn to fly}}. "
        "{{He} could {talk to trees|light a candle with one word|see in the dark|make the rain stop}, but {he} {told nobody|was not allowed to}.|"
        "{Spells|Secrets} were sold at the market, and {wands|stars} grew on trees.|Every child learned {one spell|the old words} at school.} ",
        {**names, "hero": hero.described(rng), "article_kind": article(hero.kind)},
    )
    plot = rng.choice(["wish", "star", "lost", "newcomer", "fear", "treasure"])
    return text + " ".join([*beats(rng, plot, names), ending(rng, plot, names)])


def stranger(rng):
    """`The mysterious stranger was ...`"""
    girl = rng.random() < 0.4
    names = {
        "He": "She" if girl else "He", "he": "she" if girl else "he", "his": "her" if girl else "his",
        "person": "woman" if girl else "man", "name": rng.choice(GIRLS if girl else BOYS),
        "job": article(rng.choice(list(JOBS))), "thing": rng.choice(
            "silver key|sealed letter|small brown box|violin case|map without names|lantern|golden watch".split("|")),
        "child": rng.choice(GIRLS + BOYS),
    }  # fmt: skip
    parts = [
        "The mysterious stranger {was {a tall {person} in a {grey|black|long green} coat|standing {at the gate|under the lamp|by the window}|not what we had expected|older than {he} looked|{job}, or so {he} said}|arrived on {the last train|a rainy night|the first day of winter}|came to the {inn|village} at {midnight|dusk}}.",
        "{{He} carried a {thing} and did not let go of it.|In {his} {hand|pocket} {he} had a {thing}.|Nobody had seen {him_} before.}",
        "{\"Is there a room for the night?\" {he} asked.|{He} asked for {tea and bread|the way to the old mill|a man who had been gone for years}.|{He} sat down by the fire and said nothing for an hour.}",
        "{Only little {child} was not afraid. \"What is in there?\" {child} asked.|{child} brought {him_} a cup of tea. \"Where do you come from?\"|The {dog|cat} lay down at {his} feet as if it knew {him_}.}",
        "{{He} smiled. \"I am {name},\" {he} said, \"and I have come home.\"|\"From the other side of the mountain,\" said the stranger, \"where {the clocks run backwards|it is always summer}.\"|{He} put the {thing} on the table. \"This belongs to you,\" {he} said.}",
        "{In the morning {he} was gone, but the {thing} was still there.|And so began the strangest {week|winter} of our lives.|We never found out who {he} was.|That night everything changed.}",
    ]  # fmt: skip
    names["him_"] = "her" if girl else "him"
    keep = [parts[0]] + [p for p in parts[1:] if rng.random() < 0.85]
    return fill(rng, " ".join(keep), names)


FUNCTIONS = [
    ("the sum of two numbers", "add(a, b)", "return a + b;", "sum"),
    ("the difference of two numbers", "subtract(a, b)", "return a - b;", "difference"),
    ("the product of two numbers", "multiply(a, b)", "return a * b;", "product"),
    ("the area of a rectangle", "area(width, height)", "return width * height;", "area"),
    (
        "the perimeter of a rectangle",
        "perimeter(width, height)",
        "return 2 * (width + height);",
        "perimeter",
    ),
    ("the area of a circle", "circleArea(radius)", "return 3.14159 * radius * radius;", "area"),
    ("the average of two numbers", "average(a, b)", "return (a + b) / 2;", "average"),
    ("the square of a number", "square(x)", "return x * x;", "square"),
    ("the cube of a number", "cube(x)", "return x * x * x;", "cube"),
    ("the absolute value", "abs(x)", "return x < 0 ? -x : x;", "value"),
    ("the larger of two numbers", "max(a, b)", "return a > b ? a : b;", "maximum"),
    ("the smaller of two numbers", "min(a, b)", "return a < b ? a : b;", "minimum"),
    ("the price with tax", "withTax(price, rate)", "return price * (1 + rate);", "price"),
    ("the speed of a car", "speed(distance, time)", "return distance / time;", "speed"),
]
LOOPS = [
    ("the factorial of a number", "factorial(n)", ["let result = 1;", "for (let i = 2; i <= n; i++) {", "  result *= i;", "}", "return result;"]),
    ("the sum of a list", "total(list)", ["let sum = 0;", "for (const x of list) {", "  sum += x;", "}", "return sum;"]),
    ("the largest number of a list", "largest(list)", ["let best = list[0];", "for (const x of list) {", "  if (x > best) best = x;", "}", "return best;"]),
    ("the average of a list", "mean(list)", ["let sum = 0;", "for (const x of list) {", "  sum += x;", "}", "return sum / list.length;"]),
    ("the Fibonacci numbers", "fibonacci(n)", ["let a = 0, b = 1;", "for (let i = 0; i < n; i++) {", "  [a, b] = [b, a + b];", "}", "return a;"]),
]  # fmt: skip


def code(rng):
    """`// Function to calculate ...`, as JavaScript, and the same in Python."""
    parts = []
    for _ in range(rng.choice([1, 1, 2])):
        if rng.random() < 0.4:
            what, head, lines = rng.choice(LOOPS)
        else:
            what, head, line, _name = rng.choice(FUNCTIONS)
            lines = [line]
        body = "\n".join("  " + line for line in lines)
        parts.append(f"// Function to calculate {what}\nfunction {head} {{\n{body}\n}}")
    if rng.random() < 0.2:
        what, head, line, _name = rng.choice([f for f in FUNCTIONS if "?" not in f[2]])
        return f"# Function to calculate {what}\ndef {head}:\n    {line.rstrip(';')}\n"
    return "\n\n".join(parts) + "\n"


def endpoint(rng):
    """`This API endpoint ...`"""
    thing = rng.choice("user order book message file product song ticket photo task".split())
    many = plural(thing)
    names = {
        "thing": thing,
        "a_thing": article(thing),
        "many": many,
        "id": rng.randint(1, 99),
        "limit": rng.choice([10, 20, 50, 100]),
    }
    text = fill(
        rng,
        rng.choice([
            "This API endpoint returns a list of {many}. It takes an optional `limit`, which is {limit} if not given. {The answer is a JSON array, newest first.|Results come in pages.} If there are no {many}, the array is empty.",
            "This API endpoint returns one {thing} by its `id`. {Send a GET request to `/{many}/{id}`.|For example, `GET /{many}/{id}` returns the {thing} with the id {id}.} If it does not exist, the status is 404.",
            "This API endpoint creates {a_thing}. Send a POST request with a JSON body to `/{many}`. {The field `name` is required.|The fields `name` and `owner` are required.} The answer is the new {thing} and the status 201.",
            "This API endpoint deletes {a_thing}. {It needs a valid token.|Only the owner can do this.} After a DELETE request to `/{many}/{id}` the status is 204 and the body is empty.",
            "This API endpoint accepts {many} in JSON format and {checks|stores|sorts} them. A request may hold up to {limit} {many}. {Errors are reported one by one.|If one is wrong, none is stored.}",
        ]),
        names,
    )  # fmt: skip
    return text


def bare_request(rng):
    """`Write a story about ...` without a chat template: the story follows."""
    hero = make_hero(rng)
    head = fill(rng, "{Write|Tell me} a {|short |little }story about ").replace("  ", " ")
    return f"{head}{article(hero.kind)}{rng.choice(['.', '', ':'])}\n\n{story(rng, hero)}"


def plain_list(rng):
    """Counting and listing as plain text."""
    if rng.random() < 0.5:
        start = rng.randint(0, 4)
        return "Counting: " + ", ".join(NUMBERS[start : start + rng.randint(4, 8)]) + "."
    what = rng.choice(list(LISTS))
    items = rng.sample(LISTS[what], min(len(LISTS[what]), rng.randint(3, 6)))
    if rng.random() < 0.5:
        return f"Some {what} are {join(items)}."
    return f"A list of {what}:\n" + "\n".join(f"- {item}" for item in items)


def prompt_text(rng):
    kinds = [introduction, topic, magic, stranger, code, endpoint, bare_request, plain_list]
    return rng.choices(kinds, [4, 8, 2, 4, 2, 2, 3, 1])[0](rng)
