//! What a chart is made of once everything has its place. Lengths are pixels, from
//! the upper left.

/// A picture.
#[derive(Debug, Clone)]
pub(super) struct Scene {
    pub(super) width: f32,
    pub(super) height: f32,
    /// What it shows, for those who cannot see it.
    pub(super) title: String,
    pub(super) description: String,
    /// In the order of drawing.
    pub(super) marks: Vec<Mark>,
}

/// One thing that is drawn.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Mark {
    Line {
        points: Vec<(f32, f32)>,
        ink: Ink,
        width: f32,
        dash: Dash,
    },
    Dot {
        center: (f32, f32),
        radius: f32,
        ink: Ink,
    },
    Text(Text),
}

/// A line of text.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Text {
    pub(super) line: String,
    /// Where its baseline begins, has its middle, or ends.
    pub(super) at: (f32, f32),
    pub(super) anchor: Anchor,
    pub(super) size: f32,
    pub(super) bold: bool,
    pub(super) ink: Ink,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Anchor {
    Start,
    Middle,
    End,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Dash {
    Solid,
    Dashed,
    Dotted,
}

impl Dash {
    /// Lengths of strokes and gaps, by turns; none for a solid line.
    pub(super) fn lengths(self) -> &'static [f32] {
        match self {
            Self::Solid => &[],
            Self::Dashed => &[8.0, 5.0],
            Self::Dotted => &[2.0, 4.0],
        }
    }
}

/// A colour's part in the picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ink {
    Paper,
    Text,
    Faint,
    Grid,
    Frame,
    First,
    Second,
    Third,
    Fourth,
}

impl Ink {
    pub(super) const ALL: [Self; 9] = [
        Self::Paper,
        Self::Text,
        Self::Faint,
        Self::Grid,
        Self::Frame,
        Self::First,
        Self::Second,
        Self::Third,
        Self::Fourth,
    ];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Paper => "paper",
            Self::Text => "text",
            Self::Faint => "faint",
            Self::Grid => "grid",
            Self::Frame => "frame",
            Self::First => "first",
            Self::Second => "second",
            Self::Third => "third",
            Self::Fourth => "fourth",
        }
    }

    /// Red, green and blue on light paper, and on dark. The four of the lines are told
    /// apart by those who see no red or no green (Okabe and Ito, 2008).
    pub(super) fn rgb(self) -> [[u8; 3]; 2] {
        match self {
            Self::Paper => [[0xff, 0xff, 0xff], [0x16, 0x1b, 0x22]],
            Self::Text => [[0x1f, 0x23, 0x28], [0xe6, 0xed, 0xf3]],
            Self::Faint => [[0x59, 0x63, 0x6e], [0x9d, 0xa7, 0xb1]],
            Self::Grid => [[0xe7, 0xea, 0xee], [0x2b, 0x32, 0x3b]],
            Self::Frame => [[0xaf, 0xb8, 0xc1], [0x57, 0x60, 0x6a]],
            Self::First => [[0x00, 0x72, 0xb2], [0x56, 0xb4, 0xe9]],
            Self::Second => [[0xaa, 0x4a, 0x86], [0xdd, 0x96, 0xbf]],
            Self::Third => [[0xd5, 0x5e, 0x00], [0xf0, 0x8a, 0x3c]],
            Self::Fourth => [[0x00, 0x8a, 0x65], [0x2f, 0xc3, 0x9a]],
        }
    }
}
