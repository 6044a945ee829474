//! Colours that stay apart for most eyes, in print too (Okabe and Ito 2008), and the greys around them.

use plotters::style::RGBColor;

/// The colours of Okabe and Ito, strong ones first; the yellow is darkened so that it is seen on white.
const COLOURS: [[u8; 3]; 8] = [
    [0x00, 0x72, 0xB2],
    [0xD5, 0x5E, 0x00],
    [0x00, 0x9E, 0x73],
    [0xCC, 0x79, 0xA7],
    [0xE6, 0x9F, 0x00],
    [0x56, 0xB4, 0xE9],
    [0x33, 0x33, 0x33],
    [0xA3, 0x93, 0x00],
];

/// Text, axes and marks.
pub(crate) const INK: RGBColor = RGBColor(0x26, 0x26, 0x26);
/// What is said aside.
pub(crate) const QUIET: RGBColor = RGBColor(0x66, 0x66, 0x66);
/// Lines of the grid.
pub(crate) const GRID: RGBColor = RGBColor(0xE4, 0xE4, 0xE4);
/// The ground that everything lies on.
pub(crate) const GROUND: RGBColor = RGBColor(0xFF, 0xFF, 0xFF);

/// Colours before the palette begins again.
pub(crate) const MANY: usize = COLOURS.len();

/// The colour of an entry of the palette, which goes round.
pub(crate) fn strong(group: usize) -> RGBColor {
    let [r, g, b] = COLOURS[group % MANY];
    RGBColor(r, g, b)
}

/// The same, `share` of it on white: for what lies behind.
pub(crate) fn pale(group: usize, share: f64) -> RGBColor {
    let mixed = COLOURS[group % MANY].map(|c| (255.0 - share * (255.0 - f64::from(c))).round() as u8);
    RGBColor(mixed[0], mixed[1], mixed[2])
}
