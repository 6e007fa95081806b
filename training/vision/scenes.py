"""Pictures of coloured shapes: what is in them, how they are drawn, where things are.

A scene is a few groups ("3 red circles") on a plain background; `sample` draws many of
them at once with numpy, `draw` rasterises them in JAX (on the device while training, and
for the PNG files of the examples and of the evaluation). Knows nothing of questions or
of the model; `questions.py` and `model.py` are where to read next.
"""

import jax
import jax.numpy as jnp
import numpy as np

SHAPES = ("circle", "square", "triangle", "star", "ring")
COLOURS = ("red", "orange", "yellow", "green", "blue", "purple", "black", "white")
GROUNDS = ("white", "grey", "black", "pink", "light blue")
COLOUR_RGB = np.array(
    [(214, 40, 40), (245, 135, 20), (250, 215, 30), (45, 150, 60), (40, 80, 210), (140, 50, 170)]
    + [(20, 20, 20), (250, 250, 250)],
    np.float32,
)
GROUND_RGB = np.array(
    [(250, 250, 250), (150, 150, 150), (20, 20, 20), (250, 195, 210), (180, 220, 245)], np.float32
)
HIDDEN = {0: "white", 2: "black"}  # the colour that cannot be seen on a background
MOST = 6  # shapes in a picture that questions are asked about
# A shape is what lies inside all of up to five half-planes, whose normals have these angles
# at rest; a star is what lies inside all but one of them.
NORMALS = np.array(
    [[0, 0, 0, 0, 0], [0, 90, 180, 270, 270], [90, 210, 330, 330, 330]]
    + [[270, 342, 54, 126, 198], [0, 0, 0, 0, 0]]
) * (np.pi / 180)
SIZE = np.array([1.0, 1.2, 1.3, 1.45, 1.05])  # outer radius for an equal look
INSET = np.array([1.0, 0.5**0.5, 0.5, np.cos(0.4 * np.pi), 1.0])  # of the sides, in outer radii
HOLE = np.array([-9.0, -9.0, -9.0, -9.0, 0.55])  # of a ring, in outer radii
PLACES = (
    ("at the top left", "at the top", "at the top right"),
    ("on the left", "in the middle", "on the right"),
    ("at the bottom left", "at the bottom", "at the bottom right"),
)


def place_of(x, y):
    """Which third of the picture a point is in, in words; x and y are in 0..1."""
    return PLACES[min(2, int(3 * y))][min(2, int(3 * x))]


def sample_one(rng):
    """One scene: a list of (shape, colour, x, y, radius, angle), and the background.

    x and y are parts of the width and height, the radius is a part of the shorter side.
    Centres are at least 0.2 apart along one axis, so that no two share an image token
    of a picture of 140 pixels or more.
    """
    ground = int(rng.integers(len(GROUNDS)))
    colours = [c for c in range(len(COLOURS)) if COLOURS[c] != HIDDEN.get(ground)]
    groups = int(rng.choice([1, 2, 3], p=[0.35, 0.4, 0.25]))
    style = rng.random()
    if style < 0.35:  # one colour
        shapes = rng.permutation(len(SHAPES))[:groups]
        kinds = [(int(s), int(rng.choice(colours))) for s in shapes]
        kinds = [(s, kinds[0][1]) for s, _ in kinds]
    elif style < 0.6:  # one shape
        shape = int(rng.integers(len(SHAPES)))
        kinds = [(shape, int(c)) for c in rng.permutation(colours)[:groups]]
    else:
        kinds = []
        while len(kinds) < groups:
            kind = (int(rng.integers(len(SHAPES))), int(rng.choice(colours)))
            if kind not in kinds:
                kinds.append(kind)
    count = int(rng.integers(groups, MOST + 1))
    members = kinds + [kinds[int(i)] for i in rng.integers(groups, size=count - groups)]
    side = int(rng.choice([g for g in (2, 3, 4) if g * g >= count]))
    return place(rng, members, side), ground


def sample_crowd(rng):
    """A scene of many unlike things, which only the encoder's training is shown."""
    ground = int(rng.integers(len(GROUNDS)))
    colours = [c for c in range(len(COLOURS)) if COLOURS[c] != HIDDEN.get(ground)]
    side = int(rng.choice([2, 3, 4], p=[0.2, 0.3, 0.5]))
    count = int(rng.integers(side * side // 2, side * side + 1))
    members = [(int(rng.integers(len(SHAPES))), int(rng.choice(colours))) for _ in range(count)]
    return place(rng, members, side), ground


def place(rng, members, side):
    """Things of the given shapes and colours in cells of a grid of side x side."""
    cells = rng.permutation(side * side)[: len(members)]
    base = rng.uniform(0.075, min(0.12, 0.38 / side))
    things = []
    for (shape, colour), cell in zip(members, cells, strict=True):
        radius = float(np.clip(base * rng.uniform(0.85, 1.2), 0.07, min(0.13, 0.4 / side)))
        slack = max(0.0, min(0.5 / side - 1.1 * radius, 0.5 / side - 0.1))
        dx, dy = rng.uniform(-slack, slack, 2)
        x, y = (cell % side + 0.5) / side + dx, (cell // side + 0.5) / side + dy
        things.append((shape, colour, x, y, radius, float(rng.uniform(-0.3, 0.3))))
    return things


def pack(scenes, rng, barred=0.0, most=MOST):
    """Scenes as arrays for `draw`: things [batch, most, ...], colours with a little noise.

    A part `barred` of them becomes a picture of 4:3 or 3:4 between two black bars, as
    padding to a square makes it.
    """
    batch = len(scenes)
    geometry = np.full((batch, most, 4), -9.0, np.float32)  # x, y, radius, angle
    geometry[..., 2:] = 0.0
    shape = np.zeros((batch, most), np.int32)
    colour = np.full((batch, most), -1, np.int32)
    ground = np.zeros(batch, np.int32)
    for b, (things, back) in enumerate(scenes):
        ground[b] = back
        for k, (s, c, *rest) in enumerate(things):
            shape[b, k], colour[b, k], geometry[b, k] = s, c, rest
    bar = np.zeros((batch, 2), np.float32)
    for b in np.nonzero(rng.random(batch) < barred)[0]:
        axis = int(rng.integers(2))
        bar[b, axis] = 1 / 8
        geometry[b, :, axis] = 1 / 8 + geometry[b, :, axis] * 3 / 4
        geometry[b, :, 2] *= 3 / 4
    rgb = COLOUR_RGB[colour] + rng.uniform(-14, 14, (batch, most, 3))
    back = GROUND_RGB[ground] + rng.uniform(-8, 8, (batch, 3))
    turn = NORMALS[shape] + geometry[..., 3:]
    radius = geometry[..., 2] * SIZE[shape]
    outline = np.stack([radius * a for a in (1.0, INSET[shape], HOLE[shape])], -1)
    return {
        "geometry": geometry,
        "normals": np.stack([np.cos(turn), np.sin(turn)], -1).astype(np.float32),
        "outline": outline.astype(np.float32),
        "rgb": np.clip(rgb, 0, 255).astype(np.float32),
        "ground_rgb": np.clip(back, 0, 255).astype(np.float32),
        "shape": shape,
        "colour": colour,
        "ground": ground,
        "bar": bar,
        "soft": rng.uniform(1.0, 3.0, batch).astype(np.float32),
    }


def draw(scenes, height, width, zoom=1.0, corner=(0.0, 0.0)):
    """Pictures [batch, height, width, 3] in 0..255 of packed scenes.

    With a zoom above 1 the picture is a window, whose corner is given as parts of the
    whole, of one drawn that much larger. `soft` is the width of an edge in pixels.
    """
    scenes = {name: jnp.asarray(value) for name, value in scenes.items() if name != "colour"}
    full_h, full_w = height * zoom, width * zoom
    ys = (jnp.arange(height) + 0.5 + corner[1] * full_h)[None, :, None]
    xs = (jnp.arange(width) + 0.5 + corner[0] * full_w)[None, None, :]
    scale = min(height, width) * zoom
    soft = scenes["soft"][:, None, None]
    star, ring = SHAPES.index("star"), SHAPES.index("ring")

    def cover(k):
        """How much of each pixel thing k covers, [batch, height, width]."""
        at = lambda name, *i: scenes[name][(slice(None), k, *i)][:, None, None]  # noqa: E731
        dx, dy = xs - at("geometry", 0) * full_w, ys - at("geometry", 1) * full_h
        far = jnp.sqrt(dx * dx + dy * dy)
        first = second = jnp.full_like(far, -1e9)
        for i in range(NORMALS.shape[1]):
            side = dx * at("normals", i, 0) + dy * at("normals", i, 1)
            second = jnp.maximum(second, jnp.minimum(first, side))
            first = jnp.maximum(first, side)
        outside = jnp.where(at("shape") == star, second, first)
        outside = jnp.where((at("shape") == 0) | (at("shape") == ring), far, outside)
        outside = outside - at("outline", 1) * scale
        outside = jnp.maximum(outside, at("outline", 2) * scale - far)
        shown = jnp.clip(0.5 - outside / soft, 0.0, 1.0)
        return jnp.where(at("geometry", 2) > 0, shown, 0.0)

    def add(k, planes):
        part = cover(k)
        return tuple(
            p * (1.0 - part) + scenes["rgb"][:, k, c][:, None, None] * part
            for c, p in enumerate(planes)
        )

    blank = jnp.ones((1, height, width))
    planes = tuple(scenes["ground_rgb"][:, c][:, None, None] * blank for c in range(3))
    picture = jnp.stack(jax.lax.fori_loop(0, scenes["shape"].shape[1], add, planes), -1)
    bar = scenes["bar"][:, None, None]
    inside = (xs >= bar[..., 0] * full_w) & (xs < full_w - bar[..., 0] * full_w)
    inside &= (ys >= bar[..., 1] * full_h) & (ys < full_h - bar[..., 1] * full_h)
    return jnp.where(inside[..., None], picture, 0.0)


RAMP = 10.0  # pixels across which a thing passes from one cell to the next


def cell_labels(scenes, rows, cols, zoom=1.0, corner=(0.0, 0.0)):
    """How much of which thing has its centre in each cell of 28x28 pixels.

    By shape and by both shape and colour (the last of each: nothing), and by colour;
    [batch, rows * cols, kinds] each. A centre within half a ramp of a cell's edge belongs to
    both sides in part, so that the parts of one thing always add up to one, and a pixel more
    or less changes little.
    """
    batch = len(scenes["shape"])
    kind = np.zeros((batch, rows, cols, len(SHAPES) * len(COLOURS)), np.float32)
    number = scenes["shape"] * len(COLOURS) + scenes["colour"]
    steps = []
    for axis, count in ((1, rows), (0, cols)):
        at = (scenes["geometry"][..., axis] - corner[axis]) * zoom * count
        near = np.round(at)  # the closest edge
        after = np.clip(0.5 + (at - near) * 28 / RAMP, 0, 1)
        steps.append([(near.astype(int) - 1, 1 - after), (near.astype(int), after)])
    for row, part_y in steps[0]:
        for col, part_x in steps[1]:
            part = part_y * part_x
            seen = (scenes["colour"] >= 0) & (part > 0)
            seen &= (row >= 0) & (row < rows) & (col >= 0) & (col < cols)
            b, k = np.nonzero(seen)
            np.add.at(kind, (b, row[b, k], col[b, k], number[b, k]), part[b, k])
    kind = kind.reshape(batch, rows * cols, len(SHAPES), len(COLOURS))
    shape, colour = kind.sum(3), kind.sum(2)
    rest = np.maximum(0, 1 - shape.sum(-1, keepdims=True))
    kind = np.concatenate([kind.reshape(batch, rows * cols, -1), rest], -1)
    return {"shape": np.concatenate([shape, rest], -1), "colour": colour, "kind": kind}


def count_labels(scenes):
    """How many there are of each shape, of each colour, and of each shape in each colour."""
    shape, colour = scenes["shape"], scenes["colour"]
    there = colour >= 0
    by_shape = (shape[..., None] == np.arange(len(SHAPES))) & there[..., None]
    by_colour = colour[..., None] == np.arange(len(COLOURS))
    both = by_shape[..., :, None] & by_colour[..., None, :]
    both = both.reshape(*both.shape[:2], -1)
    return np.concatenate([by_shape, by_colour, both], -1).sum(1).astype(np.int32)
