"""Word lists and facts that the training text is built from."""

GIRLS = """Mia Anna Lily Emma Zoe Ruby Nora Ella Ivy Clara Rosa Lucy Maya Alice Hana Leila Sara Amina
Freya Greta Elsa Ines Julia Kira Lena Molly Nina Olga Priya Tara Vera Wendy Yuki Zara Bella Daisy Eva
Fiona Grace Heidi Iris Jane Kate Luna Mary Noemi Paula Rita Sofia Tessa Uma Violet Willa Ada Bea Carla
Dora Edith Flora Gina Holly""".split()
BOYS = """Tom Ben Max Leo Sam Finn Oscar Theo Hugo Jack Noah Liam Omar Ravi Kofi Ivan Luca Milo Otto Paul
Remy Simon Toby Victor Will Yusuf Adam Bruno Carl David Erik Felix George Henry Isaac James Kenji Louis
Marco Nico Pedro Quinn Robin Stefan Tim Umar Vito Walter Anton Boris Cyrus Dan Emil Frank Gus Hans Ian
Jonas Karl Luke""".split()
PET_NAMES = """Pip Dot Bramble Hazel Rusty Pebble Clover Biscuit Nutmeg Fern Misty Button Willow Maple
Ziggy Tansy Bilbo Mossy Juniper Scout Ember Patch Snowy Toffee Pepper Ginger Sunny Acorn Thistle Coco
Waffle Momo Tiko Olive Poppy Basil Cricket Dusty Flint Marble""".split()
SYLLABLES = """ba be bo da de do fa fi fo ga go ka ki ko la le li lo ma me mi mo na ne ni no pa pe po ra re
ri ro sa se si so ta te ti to va ve vi za ze zo""".split()
ENDINGS = "n r s l x th k m nd rt".split()
SURNAMES = """Baker Stone Rivers Hill Wood Marsh Field Brook Lake Young Carter Fisher Miller Cooper Weaver
Gardner Shepherd North West Winter""".split()

# Animals: where they live, what they eat, what sound they make (or None).
ANIMALS = {
    "cat": ("in a house", "fish", "meow"), "dog": ("in a house", "bones", "woof"),
    "cow": ("on a farm", "grass", "moo"), "duck": ("on a pond", "water plants", "quack"),
    "sheep": ("on a farm", "grass", "baa"), "pig": ("on a farm", "roots and corn", "oink"),
    "horse": ("on a farm", "hay", "neigh"), "lion": ("on the savanna", "meat", "roar"),
    "frog": ("by a pond", "flies", "ribbit"), "bee": ("in a hive", "nectar", "buzz"),
    "owl": ("in a tree", "mice", "hoot"), "snake": ("in the grass", "mice", "hiss"),
    "mouse": ("in a small hole", "cheese and seeds", "squeak"), "wolf": ("in the forest", "meat", "howl"),
    "rooster": ("on a farm", "corn", "cock-a-doodle-doo"), "crow": ("in a tree", "seeds", "caw"),
    "goat": ("on a hill", "grass and leaves", "bleat"), "donkey": ("on a farm", "hay", "hee-haw"),
    "fox": ("in a den", "berries and mice", None), "rabbit": ("in a burrow", "carrots", None),
    "bear": ("in a cave", "honey and fish", "growl"), "squirrel": ("in a tree", "nuts", None),
    "hedgehog": ("under a hedge", "beetles", None), "turtle": ("by the water", "leaves", None),
    "elephant": ("on the savanna", "leaves and fruit", "trumpet"), "whale": ("in the sea", "krill", None),
    "dolphin": ("in the sea", "fish", "click"), "penguin": ("in the cold south", "fish", None),
    "monkey": ("in the jungle", "bananas", None), "parrot": ("in the jungle", "seeds", "squawk"),
    "tiger": ("in the jungle", "meat", "roar"), "camel": ("in the desert", "dry plants", None),
    "badger": ("in a den", "worms", None), "beaver": ("by a river", "bark", None),
    "otter": ("by a river", "fish", None), "deer": ("in the forest", "leaves", None),
    "snail": ("in the garden", "leaves", None), "ant": ("in a nest under the ground", "crumbs", None),
    "spider": ("in a web", "flies", None), "kangaroo": ("in the grassland", "grass", None),
    "panda": ("in the mountains", "bamboo", None), "seal": ("by the sea", "fish", "bark"),
    "swan": ("on a lake", "water plants", None), "hen": ("on a farm", "corn", "cluck"),
    "sparrow": ("in a tree", "seeds", "chirp"), "bat": ("in a cave", "insects", None),
}  # fmt: skip
FANTASY = [
    "dragon",
    "robot",
    "unicorn",
    "giant",
    "fairy",
    "wizard",
    "ghost",
    "snowman",
    "star",
    "cloud",
]
CAN_FLY = ["duck", "bee", "owl", "crow", "parrot", "swan", "sparrow", "bat"]
CAN_SWIM = ["duck", "frog", "otter", "whale", "dolphin", "seal", "swan", "beaver", "penguin"]

COLOURS = {
    "the sky": "blue", "grass": "green", "snow": "white", "a banana": "yellow", "a tomato": "red",
    "coal": "black", "the sun": "yellow", "a carrot": "orange", "milk": "white", "a lemon": "yellow",
    "an elephant": "grey", "chocolate": "brown", "a strawberry": "red", "the sea": "blue",
    "a frog": "green", "blood": "red", "a plum": "purple", "a flamingo": "pink", "a raven": "black",
    "a leaf": "green", "a cherry": "red", "salt": "white", "a pumpkin": "orange", "night": "black",
    "a cucumber": "green", "gold": "yellow", "a pig": "pink", "a lime": "green", "a cloud": "white",
    "a fire engine": "red", "an orange": "orange", "a swan": "white", "a pea": "green", "mud": "brown",
}  # fmt: skip
OPPOSITES = [
    ("hot", "cold"), ("big", "small"), ("fast", "slow"), ("up", "down"), ("day", "night"),
    ("happy", "sad"), ("old", "young"), ("light", "dark"), ("open", "closed"), ("full", "empty"),
    ("left", "right"), ("loud", "quiet"), ("wet", "dry"), ("hard", "soft"), ("high", "low"),
    ("rich", "poor"), ("strong", "weak"), ("early", "late"), ("first", "last"), ("near", "far"),
    ("good", "bad"), ("long", "short"), ("clean", "dirty"), ("heavy", "light"), ("in", "out"),
    ("begin", "end"), ("push", "pull"), ("win", "lose"), ("love", "hate"), ("true", "false"),
    ("brave", "afraid"), ("sweet", "sour"), ("thick", "thin"), ("wide", "narrow"), ("yes", "no"),
    ("above", "below"), ("before", "after"), ("always", "never"), ("awake", "asleep"), ("buy", "sell"),
]  # fmt: skip
CAPITALS = {
    "France": "Paris", "Germany": "Berlin", "Italy": "Rome", "Spain": "Madrid", "Portugal": "Lisbon",
    "England": "London", "Scotland": "Edinburgh", "Ireland": "Dublin", "Norway": "Oslo",
    "Sweden": "Stockholm", "Finland": "Helsinki", "Denmark": "Copenhagen", "Poland": "Warsaw",
    "Austria": "Vienna", "Switzerland": "Bern", "Belgium": "Brussels", "Greece": "Athens",
    "Turkey": "Ankara", "Russia": "Moscow", "Ukraine": "Kyiv", "Hungary": "Budapest",
    "Romania": "Bucharest", "Bulgaria": "Sofia", "Croatia": "Zagreb", "Iceland": "Reykjavik",
    "Japan": "Tokyo", "China": "Beijing", "India": "New Delhi", "Thailand": "Bangkok",
    "Vietnam": "Hanoi", "Egypt": "Cairo", "Kenya": "Nairobi", "Morocco": "Rabat", "Ghana": "Accra",
    "Canada": "Ottawa", "Mexico": "Mexico City", "Brazil": "Brasilia", "Argentina": "Buenos Aires",
    "Chile": "Santiago", "Peru": "Lima", "Cuba": "Havana", "Australia": "Canberra",
    "the United States": "Washington", "the Netherlands": "Amsterdam", "South Korea": "Seoul",
}  # fmt: skip
JOBS = {
    "baker": "bakes bread and cakes", "farmer": "grows food and looks after animals",
    "teacher": "helps people learn", "doctor": "helps sick people get well",
    "pilot": "flies planes", "fisher": "catches fish", "painter": "paints pictures",
    "gardener": "takes care of plants", "cook": "makes meals", "tailor": "sews clothes",
    "carpenter": "makes things out of wood", "firefighter": "puts out fires",
    "sailor": "works on a ship", "librarian": "takes care of books", "musician": "plays music",
    "builder": "builds houses", "nurse": "cares for people in hospital", "writer": "writes stories",
    "dentist": "takes care of teeth", "postman": "brings letters", "shepherd": "looks after sheep",
    "programmer": "writes programs for computers", "judge": "decides what the law says",
    "miner": "digs for stone and metal", "beekeeper": "looks after bees",
    "astronomer": "studies the stars", "clockmaker": "makes and mends clocks",
}  # fmt: skip
TOOLS = {
    "hammer": "drive nails", "knife": "cut things", "pen": "write", "broom": "sweep the floor",
    "clock": "tell the time", "umbrella": "stay dry in the rain", "lamp": "see in the dark",
    "spoon": "eat soup", "key": "open a lock", "ladder": "reach high places", "needle": "sew",
    "map": "find the way", "kettle": "boil water", "saw": "cut wood", "bucket": "carry water",
    "rope": "tie things", "telescope": "look at the stars", "scissors": "cut paper",
    "pillow": "rest your head", "bell": "make a ringing sound", "boat": "cross the water",
}  # fmt: skip
LISTS = {
    "animals": "cat dog horse rabbit lion bear fox owl duck whale tiger frog sheep wolf mouse".split(),
    "colours": "red blue green yellow orange purple white black brown pink grey gold".split(),
    "fruits": "apple banana pear cherry plum grape lemon orange peach melon strawberry mango".split(),
    "vegetables": "carrot onion potato tomato cabbage bean pea pepper cucumber spinach leek".split(),
    "days of the week": "Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split(),
    "birds": "owl crow duck swan parrot sparrow robin eagle penguin hen dove".split(),
    "countries": "France Japan Brazil Kenya Canada India Norway Egypt Peru Spain Italy".split(),
    "tools": "hammer saw ladder broom needle knife rope bucket shovel brush".split(),
    "sports": "football tennis swimming running rowing cycling skating chess climbing".split(),
    "planets": "Mercury Venus Earth Mars Jupiter Saturn Uranus Neptune".split(),
    "seasons": "spring summer autumn winter".split(),
    "instruments": "piano guitar violin flute drum trumpet harp cello".split(),
    "trees": "oak pine birch maple willow elm ash beech cedar".split(),
    "flowers": "rose tulip daisy lily violet poppy sunflower orchid".split(),
    "jobs": "baker farmer teacher doctor pilot painter cook sailor nurse writer".split(),
    "months": """January February March April May June July August September October November
December""".split(),
}
ORDERED = {"days of the week", "planets", "seasons", "months"}
HOBBIES = """painting|reading|chess|gardening|swimming|baking bread|playing the piano|watching birds|
long walks in the hills|writing poems|fishing|climbing|dancing|playing football|building model ships|
looking at the stars|cycling|singing|knitting|solving puzzles|collecting stamps|cooking""".replace(
    "\n", ""
).split("|")
NUMBERS = "zero one two three four five six seven eight nine ten eleven twelve".split()
PLAIN_WORDS = """apple river window garden yellow winter summer music stone silver forest bridge candle
pencil orange table basket kitchen blanket mountain flower butter letter market shadow thunder hello
world coffee planet rocket puzzle castle dragon island sugar cotton mirror pocket bottle ticket number
story happy cloud water green light bread house tree ship moon star bird fish king queen road""".split()
UNKNOWN = """quantum physics|the stock market|the history of Rome|how engines work|the best phone|
tomorrow's weather|politics|the latest news|my password|who won the match|tax law|organic chemistry|
the price of gold|the theory of relativity|my horoscope|the population of the world|deep sea cables|
how to fix my car|medieval poetry|the rules of cricket|vaccines|black holes""".replace(
    "\n", ""
).split("|")


def article(noun):
    """`a fox`, `an owl`."""
    return ("an " if noun[0].lower() in "aeiou" and not noun.startswith("uni") else "a ") + noun


def plural(noun):
    """The plural of a noun of these lists."""
    irregular = {
        "mouse": "mice",
        "sheep": "sheep",
        "wolf": "wolves",
        "deer": "deer",
        "knife": "knives",
    }
    if noun in irregular:
        return irregular[noun]
    if noun.endswith(("s", "x", "ch", "sh")):
        return noun + "es"
    if noun.endswith("y") and noun[-2] not in "aeiou":
        return noun[:-1] + "ies"
    return noun + "s"
