"""Stories with a beginning, a problem, help and an ending, from one cast each."""

from grammar import fill
from words import (
    ANIMALS,
    BOYS,
    ENDINGS,
    FANTASY,
    GIRLS,
    PET_NAMES,
    SYLLABLES,
    article,
)  # fmt: skip

TRAITS = "curious|brave|shy|kind|cheerful|quiet|clever|gentle|stubborn|playful|patient|dreamy|small|young"
PLACES = {
    "the forest": "in a deep green forest|in the old forest|in a forest of tall pines",
    "the village": "in a small village|in a village by the sea|in a village between two hills|in a quiet village",
    "the valley": "at the foot of a mountain|in a valley below the mountains|in a green valley",
    "the countryside": "on a little farm|on a farm at the end of a long road",
    "the town": "in a busy town|in a town with a tall clock tower|in a town by the river",
    "the island": "on a small island|on an island full of birds",
    "the lake country": "on the shore of a wide lake|in a little house by the lake",
}
OBJECTS = """red kite|silver key|golden bell|blue scarf|wooden flute|little drum|paper boat|music box|
tiny lantern|old map|glass marble|green hat|brass compass|painted cup|picture book|yellow umbrella|
warm blanket|toy train|shiny button|wooden spoon""".replace("\n", "").split("|")
TREASURES = """an old silver coin|a box of coloured stones|a letter from long ago|a tiny golden ring|
a jar of honey|a book of songs|a bag of seeds|a picture of the whole village""".replace(
    "\n", ""
).split("|")
FOODS = (
    "a loaf of bread|a basket of apples|a pot of soup|a honey cake|a bag of nuts|a plum pie".split(
        "|"
    )
)
HIDING = """under a bush|behind a big stone|in a hollow tree|at the edge of the stream|under the bridge|
in the tall grass|behind the barn|between two roots|on top of a haystack""".replace("\n", "").split(
    "|"
)
SEARCHED = """in the garden|by the pond|along the path|near the well|behind the shed|below the oak tree|
in the meadow|beside the old wall|close to the stream""".replace("\n", "").split("|")
MORALS = {
    "lost": "asking for help is never a bad thing|good friends find what one alone cannot",
    "hurt": "a kind deed comes back one day|being gentle is a way of being strong",
    "storm": "a storm is smaller when you share it|a warm home is best with friends in it",
    "fear": "being brave means trying while you are afraid|most fears grow smaller when you look at them",
    "share": "food tastes better when it is shared|to give is to have twice",
    "build": "it is fine to fail, if you try again|every good thing takes time",
    "astray": "it is wise to look back along the path|a calm heart finds the way",
    "race": "slow and steady can be enough|a friend is worth more than a prize",
    "garden": "patience makes things grow|small things can become great",
    "wish": "the best wish is for someone else|what you have may be all you need",
    "newcomer": "a new friend is only a hello away|everybody is new somewhere once",
    "party": "a gift made by hand is the finest gift|being remembered is the best present",
    "honest": "the truth is lighter than a lie|honest words mend what is broken",
    "repair": "old things deserve a second chance|nothing is useless if you look closely",
    "treasure": "the journey was the treasure|the best treasures cannot be counted",
    "star": "even small lights matter in the dark|everyone has a place to go home to",
    "song": "every voice has its place|you find your own song by listening",
    "bridge": "working together makes heavy things light|two who quarrel can still build one bridge",
}

# Each plot: (title, word that a request may ask for, beats). A beat is a list of variants.
PLOTS = {
    "lost": ("The Lost {object}", "a lost {object}", [
        ["{P} had {article_object} that {he} loved more than anything.",
         "{P}'s favourite thing in the world was {article_object}.",
         "Every day, {P} carried {article_object} wherever {he} went."],
        ["But one {morning|afternoon|windy day|evening}, the {object} was gone. {He} looked {searched}, but it was not there.",
         "Then, one {morning|rainy day|evening}, {he} could not find the {object} anywhere. {He} searched {searched} and {searched2}. Nothing.",
         "One day {he} came home and saw that the {object} was missing. \"Oh no!\" {he} cried. \"Where can it be?\""],
        ["{F} {the_friend_kind} saw that {P} was sad. \"What is wrong?\" asked {F}. \"I have lost my {object},\" said {P}. \"Then let us look for it together,\" said {F}.",
         "\"Do not cry,\" said {F} {the_friend_kind}. \"Where did you see it last?\" {P} thought hard. \"{hint_place},\" {he} said at last.",
         "{P} asked {his} friend {F} for help. {F} was {article_friend} with very {sharp eyes|good ears|quick feet}. \"I will help you,\" said {F}."],
        ["They looked {searched2}, and then they looked {hiding}. There was the {object}, safe and dry.",
         "The two friends walked slowly and looked at everything. At last {F} called, \"I see it!\" The {object} lay {hiding}.",
         "Together they went back the way {P} had come. And there, {hiding}, was the {object}!"],
        ["{P} laughed and hugged {F}. \"Thank you,\" {he} said.", "\"You found it!\" shouted {P}, and {he} danced with {joy|happiness}.",
         "{P} was so happy that {he} gave {F} {food}."],
    ]),
    "hurt": ("The Hurt {Guest}", "a hurt {guest}", [
        ["One {morning|cold day|evening}, {P} was walking {searched} when {he} heard a soft cry.",
         "{P} liked to walk {searched} every {morning|evening}. One day {he} heard a small voice."],
        ["It was a {guest}. Its {leg|foot} was hurt and it could not {walk|move}.",
         "Behind a stone sat a {guest}. \"I have hurt my {foot|leg},\" it whispered."],
        ["{P} did not know what to do, so {he} ran to {F} {the_friend_kind}. \"Bring it some water and keep it warm,\" said {F}.",
         "\"I will help you,\" said {P}. {He} called {F} {the_friend_kind}, who knew about {plants|medicine|such things}. Together they made a soft bed of {moss|hay|leaves}."],
        ["Every day {P} brought food and water, and every day the {guest} grew stronger.",
         "For {two|three|five} days {P} sat beside the {guest} and told it stories. Slowly it got well."],
        ["When it was well again, the {guest} said, \"I will not forget you.\" And it {came back|visited} every spring.",
         "At last the {guest} could run again. It turned around once, nodded, and ran into the trees. The next day {P} found {treasure} at {his} door."],
    ]),
    "storm": ("The Great Storm", "a storm", [
        ["One {autumn|winter|summer} day the sky turned {black|dark grey} and the wind began to howl.",
         "One evening a great storm came over {land}. The rain fell like {stones|a river}."],
        ["The wind took the roof of {P}'s {home|house}, and {he} had nowhere to stay.",
         "{P} was far from home. {He} was wet and cold, and {he} could not see the path."],
        ["Then {he} saw a light. It was the house of {F} {the_friend_kind}. \"Come in, come in!\" called {F}.",
         "\"Over here!\" called a voice. It was {F} {the_friend_kind}, who had found a dry {cave|barn|hut}."],
        ["They made a fire, ate {food}, and listened to the rain.", "{F} gave {P} {food} and a warm blanket, and they told each other stories until the wind grew quiet."],
        ["In the morning the sun came out. {F} helped {P} to {mend what was broken|find the way home}, and the work was done before {noon|evening}.",
         "When the storm was over, the whole world was {clean|shining}. \"Next time, my door is open for you,\" said {P}."],
    ]),
    "fear": ("{P} and the {Dark|Deep Water}", "being brave", [
        ["There was one thing that {P} did not like: {fear}.", "{P} had a secret. {He} was afraid of {fear}."],
        ["All the others {laughed and played|had no fear at all}, but {P} stayed at home and watched from the window.",
         "\"I can never do it,\" {he} said to {himself}. \"Something bad will happen.\""],
        ["One day {F} {the_friend_kind} sat down beside {him}. \"I was afraid of {fear} too,\" said {F}. \"I began with one small step.\"",
         "{His} friend {F} {the_friend_kind} said, \"Take my {hand|paw}. We will go together, and we will turn back whenever you like.\""],
        ["So {P} took one small step, and then another. {His} heart beat fast, but nothing bad happened.",
         "{P} closed {his} eyes, counted to three, and {tried|took a step}. Then {he} opened them again. It was {beautiful|not bad at all}!"],
        ["After that day, {P} was not afraid of {fear} any more.", "\"I did it!\" shouted {P}. {F} smiled. \"I knew you could.\""],
    ]),
    "share": ("{P} Learns to Share", "sharing", [
        ["One day {P} found {food}. It smelled {wonderful|so good}.", "One winter {P} had {food}, and nobody else had anything to eat."],
        ["\"This is mine,\" {he} said, and {he} hid it {hiding}.", "{He} was about to eat it all alone when {he} heard a knock."],
        ["Then {F} {the_friend_kind} came by. {F} was thin and tired. \"I have not eaten since {yesterday|Monday|the snow came},\" said {F}.",
         "There stood {F} {the_friend_kind}, shaking with cold. \"Could I have just a {little bit|crumb}?\" asked {F}."],
        ["{P} looked at the food and then at {F}. {His} heart grew {soft|warm}. \"Half of it is yours,\" {he} said.",
         "{P} felt ashamed. \"Sit down,\" {he} said. \"There is enough for two.\""],
        ["They ate together and laughed until the moon came up.", "In spring, {F} came back with {treasure} for {P}. \"You shared with me when I had nothing,\" said {F}."],
    ]),
    "build": ("{P} Builds a {Craft}", "building a {craft}", [
        ["{P} wanted to build a {craft}. {He} had {wood, rope and nails|some old boards and a lot of hope}.",
         "More than anything, {P} wished for a {craft}. \"I will build one,\" {he} decided."],
        ["The first {craft} fell apart at once. The second one {broke in the middle|was even worse}.",
         "{He} worked all day, but in the evening the {craft} broke with a loud crack."],
        ["\"May I help?\" asked {F} {the_friend_kind}. \"You have strong arms, and I have a plan.\" They drew the {craft} in the sand.",
         "{F} {the_friend_kind} looked at the pieces. \"You must begin with the {bottom|frame},\" said {F}. \"I will hold it, and you will tie the ropes.\""],
        ["On the {third|fourth} try, the {craft} was strong and straight.", "They worked for {three|four|seven} days. When they were done, the {craft} was the finest in {land}."],
        ["\"We did it!\" they cried, and everyone came to see.", "{P} painted both their names on it, and they used it every {summer|day}."],
    ]),
    "astray": ("The Way Home", "getting lost", [
        ["One day {P} followed a {blue butterfly|strange bird|silver fish in the stream} and went farther and farther from home.",
         "One afternoon {P} was picking {berries|mushrooms|flowers} and did not look at the path."],
        ["When {he} looked up, nothing was the same. {The trees were strange|All the paths looked alike}, and the sun was going down.",
         "Soon it was dark. \"Hello?\" called {P}. Only the {wind|echo} answered."],
        ["Then {he} heard a voice. \"You look lost,\" said {F} {the_friend_kind}. \"Follow the {river|north star|smell of smoke}. It always leads home.\"",
         "{He} sat down {hiding} and took a deep breath. After a while {F} {the_friend_kind} came along. \"I know every path here,\" said {F}. \"Come with me.\""],
        ["They walked through the night, {over a hill and across a bridge|past the old mill and along the stream}.", "Step by step they went on, and {F} sang a song so that {P} would not be afraid."],
        ["At last {he} saw the {lights|windows} of home. {Mother|Grandmother|Everyone} was waiting at the door.", "When they saw the {chimney|little gate}, {P} began to run. \"I am home!\" {he} called."],
    ]),
    "race": ("The Big Race", "a race", [
        ["Every year there was a big race in {land}. {P} wanted to win it.", "One day everyone was talking about the great race. The prize was {treasure}."],
        ["\"You are much too slow,\" laughed {F} {the_friend_kind}.", "{F} {the_friend_kind} was the fastest of all and said so every day."],
        ["The race began. {F} ran ahead like the wind, and {P} was soon the last.", "One, two, three, go! {F} was far ahead, but {P} kept running, step by step."],
        ["Near the end, {F} fell over a root and could not get up. {P} could have won, but {he} stopped. \"Lean on me,\" {he} said.",
         "{F} was so sure of winning that {F} lay down for a nap. {P} walked past {without a sound|with small steady steps}."],
        ["They crossed the line together, and nobody {cheered louder|clapped harder} than {F}.", "In the end they shared the prize, and {F} never laughed at {P} again."],
    ]),
    "garden": ("The Little Seed", "a seed", [
        ["In spring {P} found a small {brown|black|striped} seed {hiding}.", "An old woman gave {P} a seed. \"It is small now,\" she said, \"but wait.\""],
        ["{He} planted it and gave it water, but nothing happened. A week went by, and still nothing.", "{He} put it into the ground and watched it all day. \"Why does it not grow?\" {he} asked."],
        ["\"You must wait,\" said {F} {the_friend_kind}. \"A seed sleeps before it wakes.\" Together they kept {the birds|the weeds} away.",
         "{F} {the_friend_kind} said, \"Give it {sun|water} and time. I will help you.\""],
        ["Then, one {morning|day}, a green leaf came out of the ground. It grew and grew.", "After the first warm rain there was a tiny green {shoot|leaf}. {P} shouted with joy."],
        ["By summer it was {a tall sunflower|a little apple tree|a great pumpkin}, and everyone in {land} came to {see|admire} it.", "In autumn there were seeds enough for the whole village, and {P} gave one to every child."],
    ]),
    "wish": ("The Wish", "a wish", [
        ["One night {P} found {article_object} {hiding}. When {he} touched it, it began to {glow|sing|shine}.", "One evening {P} helped an old {man|woman} to carry wood. \"Take this {object},\" said the stranger. \"It will grant you one wish.\""],
        ["\"One wish,\" thought {P}. \"Should I wish for {gold|a castle|a hundred cakes}?\" {He} could not decide.", "{P} thought about it all night. {He} could have anything in the world."],
        ["Then {he} met {F} {the_friend_kind}, who was {ill|very sad}. \"I only want to {see my family again|be well again},\" said {F}.",
         "In the morning {he} heard that {F} {the_friend_kind} {was ill|had lost everything in the flood}."],
        ["{P} held the {object} and said, \"I wish that {F} will be happy again.\" There was a flash of light.", "{P} did not think long. \"My wish is for {F},\" {he} said, and the {object} grew warm in {his} hands."],
        ["The next day {F} came {running|dancing} down the road. {P} smiled, and {he} never told anyone about the wish.", "The magic was gone, but {P} had a friend for life."],
    ]),
    "newcomer": ("The New Neighbour", "making a friend", [
        ["One {Monday|spring day|morning} somebody new came to {land}. It was {F}, {article_friend}.", "{F} {the_friend_kind} was new in {land} and did not know anyone."],
        ["Nobody talked to {F}, because {F} looked {different|strange} and spoke {with a funny accent|very softly}.", "The others whispered and kept away. {F} sat alone {searched}."],
        ["{P} saw this and felt sorry. {He} took {food} and went over. \"Hello,\" {he} said. \"My name is {P}. Would you like some?\"", "\"It is not nice to be alone,\" thought {P}. {He} walked up to {F} and asked, \"Do you want to play with my {object}?\""],
        ["{F}'s face lit up. It turned out that {F} knew {a hundred songs|wonderful stories|how to make kites}.", "\"Yes, please,\" said {F}. They played until the sun went down, and the others began to watch."],
        ["Soon everyone wanted to be {F}'s friend, but {P} was the first.", "The next day all of them played together."],
    ]),
    "party": ("The Birthday", "a birthday", [
        ["It was {F}'s birthday. {F} {the_friend_kind} was {P}'s best friend.", "Tomorrow was the birthday of {F} {the_friend_kind}, and {P} had no present."],
        ["{P} had no money at all. {He} looked into {his} pocket and found only {a button|a piece of string|a crumb}.", "{He} looked at all the things in the shop, but everything cost too much."],
        ["So {he} went {searched} and had an idea. \"I will make something myself,\" {he} said.", "\"What does {F} like best?\" {he} asked {himself}. Then {he} knew."],
        ["All night {he} worked. {He} made {a picture of the two of them|a song|a crown of flowers}, and {he} baked a {small|round} cake.", "{He} took the {object}, cleaned it until it was like new, and tied a ribbon around it."],
        ["\"This is the best present of all,\" said {F}, and they danced until midnight.", "When {F} saw it, there were tears of joy. \"You made this for me?\""],
    ]),
    "honest": ("The Broken {Vase|Window|Jar}", "telling the truth", [
        ["One day {P} was playing {inside the house|by the window} with {article_object}.", "{P} was not allowed to run in the house, but {he} did it anyway."],
        ["Crash! {Grandmother's|Mother's} {blue jar|best plate|flower pot} fell and broke. {P} hid the pieces.", "There was a loud noise, and the {window|mirror} was in a thousand pieces. \"It was the {wind|cat},\" {he} told everyone."],
        ["But that night {he} could not sleep. {His} stomach felt heavy. {He} told {F} {the_friend_kind} about it. \"Say what happened,\" said {F}. \"I will come with you.\"", "{F} {the_friend_kind} had seen it all. \"A lie is like a stone in your shoe,\" said {F}. \"It hurts until you take it out.\""],
        ["In the morning {P} told the truth. \"I am sorry,\" {he} said. \"It was me.\"", "So {P} went and said in a small voice, \"I broke it. I am very sorry.\""],
        ["Nobody was angry for long. They mended it together with glue.", "\"Thank you for telling me,\" was the answer, and {P} got a big hug. That night {he} slept well."],
    ]),
    "repair": ("The Old {Clock|Machine}", "an old machine", [
        ["In {P}'s house there was an old {clock|machine|radio} that had not worked for {ten|twenty|fifty} years.", "One day {P} found {article_object} in the rubbish. It was broken and covered with dust."],
        ["\"Throw it away,\" everyone said. But {P} thought that it looked sad.", "Nobody could mend it. {P} tried and tried, but one piece was missing."],
        ["{F} {the_friend_kind} came to look. \"I have a {wheel|spring|screw} of just that size,\" said {F}.", "{He} carried it to {F} {the_friend_kind}, who had clever hands. They cleaned every part."],
        ["They put in the {last piece|new part} and waited. Tick, said the old thing. Tick, tock.", "{P} turned the last screw. There was a click, a hum, and then {music|a soft light}."],
        ["Everyone in {land} came to {see|hear} it, and from then on people brought their broken things to {P}.", "\"You see,\" said {P}, \"it only needed a friend.\""],
    ]),
    "treasure": ("The Treasure Map", "a treasure", [
        ["One day {P} found an old map {hiding}. There was a red cross on it.", "In an old book {P} found a map of {land}. \"A treasure!\" {he} whispered."],
        ["{He} took {his} {object} and set out, but the way was long and {the bridge was gone|a wide river blocked the path}.", "The map said: three steps north, over the hill, below the {crooked tree|black rock}. But the hill was steep, and {P} was alone."],
        ["At the river {he} met {F} {the_friend_kind}. \"I will show you where to cross,\" said {F}, \"if you let me come too.\"", "\"Can I come with you?\" asked {F} {the_friend_kind}. \"Two can carry more than one.\""],
        ["They dug where the cross was, and they dug deep. At last they hit a {box|chest}. Inside was {treasure}.", "Below the tree they found a little chest, and in the chest was {treasure}."],
        ["\"Half for you and half for me,\" said {P}.", "They laughed all the way home, and they kept the map for the next adventure."],
    ]),
    "star": ("The Fallen Star", "a star", [
        ["One night a small star fell from the sky and landed {searched}.", "{P} could not sleep. {He} looked out and saw a light falling, down and down, {searched}."],
        ["\"I want to go home,\" cried the star. \"But I cannot fly alone.\" Its light grew weaker.", "The little star was {cold and pale|crying}. \"Without the sky I will go out before morning,\" it said."],
        ["{P} woke {F} {the_friend_kind}. \"We must take it up to the highest {hill|tower|tree},\" said {F}.", "{P} put the star into {his} {object} and ran to {F} {the_friend_kind}, who knew the way up the mountain."],
        ["They climbed all night. At the top {P} held the star high, and the wind lifted it up.", "Up and up they went, and when they were at the top, {he} threw the star as high as {he} could."],
        ["Now there is one star that winks at {P} every night.", "The star shone brighter than all the others. \"Thank you,\" it whispered, and {P} waved."],
    ]),
    "song": ("{P}'s Song", "a song", [
        ["Everyone in {land} could sing, but {P} could not. {His} voice was {rough|much too deep|as thin as a thread}.", "{P} wanted to sing in the choir more than anything."],
        ["When {he} sang, the others covered their ears, and {P} stopped singing.", "\"Please be quiet,\" they said. So {he} went {searched} and sang alone."],
        ["There {F} {the_friend_kind} heard {him}. \"Your song is not wrong,\" said {F}. \"It is only different. Let me play along.\"", "But {F} {the_friend_kind} stopped and listened. \"I have never heard such a song,\" said {F}. \"Will you teach it to me?\""],
        ["They practised every evening, {F} with the {drum|flute} and {P} with {his} voice.", "For {two weeks|a month} they sang together, and it sounded better every day."],
        ["At the summer feast they sang before everyone. It was quiet for a moment, and then everybody clapped.", "On the day of the feast, {P} sang, and people {cried|smiled} because it was so beautiful."],
    ]),
    "bridge": ("The Bridge", "a bridge", [
        ["{P} lived on one side of the river, and {F} {the_friend_kind} lived on the other.", "Between the house of {P} and the house of {F} {the_friend_kind} there was an old bridge."],
        ["One night the flood took the bridge away. \"It was your fault,\" said {P}. \"No, yours,\" shouted {F}. They did not speak for a {week|month}.", "Then the bridge broke, and each of them said that the other must mend it."],
        ["But it was lonely without a friend. One morning {P} put the first stone into the water. When {he} looked up, {F} was doing the same.", "At last {P} called over the water, \"I am sorry. Shall we build it together?\" \"I am sorry too,\" called {F}."],
        ["They carried stones and wood from both sides. Day by day the gap grew smaller.", "{F} held the ropes and {P} laid the planks, and they met in the middle."],
        ["The new bridge was stronger than the old one, and so was the friendship.", "When it was done, they sat in the middle of it and ate {food}."],
    ]),
}  # fmt: skip
FEARS = "the dark|deep water|thunder|high places|big dogs|the old cellar|speaking in front of others".split(
    "|"
)
CRAFTS = "boat|raft|tree house|kite|cart|windmill|sledge|flying machine".split("|")


class Hero:
    """Who a story is about: a name, a kind and the pronouns that go with them."""

    def __init__(self, name, kind, pronouns):
        self.name, self.kind = name, kind
        self.he, self.him, self.his = pronouns

    def described(self, rng):
        """`a curious fox named Pip`."""
        trait = rng.choice(TRAITS.split("|"))
        return (
            f"{article(trait)} {self.kind} {rng.choice(['named', 'called', 'named'])} {self.name}"
        )


HE, SHE, IT = ("he", "him", "his"), ("she", "her", "her"), ("it", "it", "its")


def odd_name(rng):
    """A made-up name, so that names from outside the lists can be copied too."""
    parts = [rng.choice(SYLLABLES) for _ in range(rng.choice([1, 2, 2, 3]))]
    name = "".join(parts) + rng.choice(ENDINGS + ["", ""])
    return (name if len(name) > 2 else name + "na").capitalize()


def animal_name(rng):
    roll = rng.random()
    if roll < 0.55:
        return rng.choice(PET_NAMES)
    return rng.choice(GIRLS + BOYS) if roll < 0.75 else odd_name(rng)


def make_hero(rng, kind=None, name=None):
    """A hero of the kind asked for: `girl`, `boy`, an animal or a fantasy being."""
    if kind is None:
        roll = rng.random()
        everyone = list(ANIMALS)
        kind = rng.choice(["girl", "boy"] if roll < 0.4 else everyone if roll < 0.8 else FANTASY)
    if kind == "girl":
        return Hero(
            name or (odd_name(rng) if rng.random() < 0.15 else rng.choice(GIRLS)), kind, SHE
        )
    if kind == "boy":
        return Hero(name or (odd_name(rng) if rng.random() < 0.15 else rng.choice(BOYS)), kind, HE)
    if name is None:
        name = animal_name(rng)
    pronouns = SHE if name in GIRLS else HE if name in BOYS else rng.choice([HE, SHE])
    return Hero(name, kind, pronouns)


def make_names(rng, hero, plot, wanted=None):
    """The names that one story's templates may use; `wanted` fixes some of them."""
    friend = make_hero(rng, rng.choice([k for k in ANIMALS if k != hero.kind]))
    while friend.name == hero.name:
        friend = make_hero(rng, friend.kind)
    land = rng.choice(list(PLACES))
    searched = rng.sample(SEARCHED, 2)
    names = {
        "P": hero.name, "kind": hero.kind, "he": hero.he, "him": hero.him, "his": hero.his,
        "He": hero.he.capitalize(), "His": hero.his.capitalize(),
        "himself": {"he": "himself", "she": "herself", "it": "itself"}[hero.he],
        "F": friend.name, "the_friend_kind": f"the {friend.kind}",
        "article_friend": article(friend.kind),
        "object": rng.choice(OBJECTS), "treasure": rng.choice(TREASURES), "food": rng.choice(FOODS),
        "hiding": rng.choice(HIDING), "searched": searched[0], "searched2": searched[1],
        "hint_place": fill(rng, "{by the river|on the hill|near the old mill|at the market}"),
        "guest": rng.choice("young deer|small bird|little rabbit|grey wolf|tiny mouse|wild goose".split("|")),
        "fear": rng.choice(FEARS), "craft": rng.choice(CRAFTS),
        "land": land, "place": rng.choice(PLACES[land].split("|")),
    }  # fmt: skip
    names.update(wanted or {})
    names["article_object"] = article(names["object"])
    names["Guest"] = names["guest"].title()
    names["Craft"] = names["craft"].title()
    return names


OPENINGS = [
    "Once upon a time, there was {hero}. {He} lived {place}.",
    "Once upon a time, {place}, there lived {hero}.",
    "Once upon a time, {hero} lived {place}.",
    "Once upon a time there was {hero} who lived {place}.",
    "Once upon a time, in a land far away, there was {hero}. {He} lived {place}.",
    "One day, {hero} woke up early. {He} lived {place}.",
    "Once there was {hero}, and {he} lived {place}.",
    "Long ago, {place}, there lived {hero}.",
    "{place} there lived {hero}.",
    "There was once {hero} who lived {place}.",
    "{P} was {plain}. {He} lived {place}.",
    "This is the story of {P}, {plain} who lived {place}.",
]


def opening(rng, hero, names):
    described = hero.described(rng)
    plain = described.rsplit(" ", 2)[0]
    text = rng.choice(OPENINGS[:5] if rng.random() < 0.45 else OPENINGS)
    return fill(rng, text, {**names, "hero": described, "plain": plain})


def beats(rng, plot, names):
    """The body of a story: one variant of each beat."""
    return [fill(rng, rng.choice(variants), names) for variants in PLOTS[plot][2]]


def ending(rng, plot, names):
    moral = "{" + MORALS[plot] + "}"
    return fill(
        rng,
        rng.choice([
            "And {P} learned that " + moral + ".",
            "From that day on, {P} knew that " + moral + ".",
            "{P} and {F} were friends for ever after.",
            "And they all lived happily ever after.",
            "{P} {thought|smiled and thought}: " + moral + ".",
            "The end.",
        ]),
        names,
    )  # fmt: skip


def story(rng, hero=None, plot=None, wanted=None, short=False):
    """One complete story as text; `short` keeps it to one paragraph."""
    hero = hero or make_hero(rng)
    plot = plot or rng.choice(list(PLOTS))
    names = make_names(rng, hero, plot, wanted)
    body = beats(rng, plot, names)
    start, end = opening(rng, hero, names), ending(rng, plot, names)
    if short:
        return " ".join([start, *body[:4], end])
    breaks = rng.random()
    if breaks < 0.5:
        return "\n\n".join(
            [f"{start} {body[0]}", f"{body[1]} {body[2]}", f"{body[3]} {body[4]} {end}"]
        )
    if breaks < 0.8:
        return " ".join([start, *body, end])
    return "\n\n".join([start, f"{body[0]} {body[1]}", body[2], f"{body[3]} {body[4]}", end])


def book(rng, chapters):
    """A long text: one hero, several plots, a heading for each."""
    hero = make_hero(rng)
    numbers = "One Two Three Four Five Six Seven Eight Nine Ten".split()
    parts = [f"{hero.name}'s Adventures"]
    home = None
    for number, plot in zip(numbers, rng.sample(list(PLOTS), chapters), strict=False):
        names = make_names(rng, hero, plot, home)
        home = {"land": names["land"], "place": names["place"]}
        body = beats(rng, plot, names)
        start = (
            opening(rng, hero, names)
            if number == "One"
            else fill(
                rng,
                "{One day|The next summer|Some time later|A year went by, and}, {P} {was at home again|was back in {land}}.",
                names,
            )
        )
        title = fill(rng, PLOTS[plot][0], {**names, "object": names["object"].title()})
        parts.append(f"Chapter {number}: {title}")
        parts.append(" ".join([start, *body]))
    parts.append(ending(rng, plot, names))
    return "\n\n".join(parts)


def plot_request(rng):
    """A subject that a reader may ask for: its words, the plot, and the names they fix."""
    plot = rng.choice(list(PLOTS))
    wanted = {"object": rng.choice(OBJECTS), "craft": rng.choice(CRAFTS)}
    wanted["guest"] = rng.choice(["young deer", "small bird", "little rabbit", "grey wolf"])
    subject = fill(rng, PLOTS[plot][1], wanted)
    return subject[0].lower() + subject[1:], plot, wanted
