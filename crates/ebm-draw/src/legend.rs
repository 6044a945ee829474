//! Names and colours of the groups, in rows above the panels.

use plotters::element::Rectangle;
use plotters::style::Color;
use plotters::style::text_anchor::HPos;

use crate::ground::{Paper, Undrawn, plain};
use crate::palette::{INK, strong};

/// Size of the names in points, and of a row of them.
const TEXT: f64 = 11.0;
const ROW: u32 = 18;
/// A letter is at most about so wide, as a share of the size; what an svg is shown with may differ from what is embedded.
const LETTER: f64 = 0.6;
/// Before the first name, and between two of them, in points.
const LEFT: f64 = 12.0;
const BETWEEN: f64 = 40.0;
/// Letters of a name that are shown, and names.
const LETTERS: usize = 60;
const NAMES: usize = 48;

/// Points that the legend takes; none for one group.
pub(crate) fn height(names: &[String], width: u32) -> u32 {
    match lay_out(names, width).last() {
        Some((_, row, _)) => (row + 1) * ROW + 6,
        None => 0,
    }
}

/// Draws it at the top of a paper of so many points.
pub(crate) fn draw(paper: &Paper<'_>, names: &[String], width: u32) -> Result<(), Undrawn> {
    for (i, (name, row, x)) in lay_out(names, width).into_iter().enumerate() {
        let y = f64::from(row * ROW) + 14.0;
        if i < NAMES {
            let corners = [(x, y - 4.0), (x + 16.0, y + 4.0)].map(|(x, y)| (paper.units(x), paper.units(y)));
            paper.area.draw(&Rectangle::new(corners, strong(i).filled()))?;
        }
        let style = paper.text(TEXT, INK, HPos::Left);
        paper.area.draw_text(&name, &style, (paper.units(x + 21.0), paper.units(y)))?;
    }
    Ok(())
}

/// Each name with its row and where it begins in points.
fn lay_out(names: &[String], width: u32) -> Vec<(String, u32, f64)> {
    if names.len() < 2 {
        return Vec::new();
    }
    let mut shown: Vec<String> = names.iter().take(NAMES).map(|name| shortened(&plain(name))).collect();
    if names.len() > NAMES {
        shown.push(format!("and {} more, in these colours again", names.len() - NAMES));
    }
    let (mut row, mut x) = (0, LEFT);
    let mut laid = Vec::new();
    for name in shown {
        let wide = BETWEEN + LETTER * TEXT * name.chars().count() as f64;
        if x + wide > f64::from(width) && x > LEFT {
            (row, x) = (row + 1, LEFT);
        }
        laid.push((name, row, x));
        x += wide;
    }
    laid
}

/// A long name without its middle.
fn shortened(name: &str) -> String {
    let n = name.chars().count();
    if n <= LETTERS {
        return name.into();
    }
    let half = LETTERS / 2;
    let (first, last): (String, String) =
        (name.chars().take(half).collect(), name.chars().skip(n - half + 1).collect());
    format!("{first}…{last}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_go_on_in_further_rows_and_end() {
        let names = |n: usize| -> Vec<String> { (0..n).map(|i| format!("a run of some name {i}")).collect() };
        assert_eq!((height(&names(1), 640), height(&names(2), 640)), (0, ROW + 6));
        let laid = lay_out(&names(9), 640);
        assert!(laid.iter().all(|(_, _, x)| *x < 640.0) && laid.last().map(|l| l.1) > Some(1));
        assert_eq!(lay_out(&names(500), 640).len(), NAMES + 1);
        let long = shortened(&"x".repeat(300));
        assert!(long.chars().count() == LETTERS && long.contains('…'));
    }
}
