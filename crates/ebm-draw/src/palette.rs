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

/// What behind a line is left of its colour: among few lines, among many.
pub(crate) const BEHIND: [f64; 2] = [0.3, 0.18];

/// Rules that give an svg inside a page the page's colours: `--ink`, `--quiet`, `--faint` and `--c0` to `--c7` for text,
/// what is said aside, the grid and the groups. They hold for what has the class `chart`.
pub const STYLE_SHEET: &str = include_str!("chart.css");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_colour_has_its_rules_and_no_two_share_one() {
        let mut seen = Vec::new();
        let mut has = |RGBColor(r, g, b): RGBColor, what: &str, end: String| {
            let rule = format!(".chart [{what}=\"#{r:02X}{g:02X}{b:02X}\"] {{ {what}: {end}");
            assert!(STYLE_SHEET.contains(&rule), "{rule}");
            assert!(!seen.contains(&(what.to_string(), (r, g, b))), "{rule}");
            seen.push((what.to_string(), (r, g, b)));
        };
        for what in ["stroke", "fill"] {
            has(GROUND, what, "none; }".into());
            has(INK, what, "var(--ink); }".into());
            has(QUIET, what, "var(--quiet); }".into());
            has(GRID, what, "var(--faint); }".into());
            for group in 0..MANY {
                has(strong(group), what, format!("var(--c{group}); }}"));
                BEHIND
                    .iter()
                    .for_each(|s| has(pale(group, *s), what, format!("var(--c{group}); opacity: {s}; }}")));
            }
        }
    }
}
