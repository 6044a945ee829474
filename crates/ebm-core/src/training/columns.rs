//! How the columns of a table become the numbers of samples, and numbers of samples a table again.

use std::f64::consts::TAU;

use candle_core::{DType, WithDType};
use serde::{Deserialize, Serialize};

/// A cell of a table.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Cell<'a> {
    /// A number in the table's own units.
    Number(f64),
    /// A word.
    Word(&'a str),
}

/// What the cells of a column are, and what stands for them in a sample.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Cells {
    /// Numbers `v`, for which `(v - centre) / spread` stands.
    Numbers {
        /// Of the training rows, or 0.
        centre: f64,
        /// Of the training rows, or 1; above 0.
        spread: f64,
    },
    /// Angles of which a turn is `period`, for which radians in (-π, π] stand.
    Angles {
        /// A turn in the table's own units; above 0.
        period: f64,
    },
    /// One of these words, for which a one-hot vector stands.
    Words(Vec<String>),
}

/// A column.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Column {
    /// Its name in the table.
    pub name: String,
    /// What its cells are.
    pub cells: Cells,
}

impl Column {
    /// Values of a sample that stand for a cell.
    pub fn width(&self) -> usize {
        match &self.cells {
            Cells::Words(words) => words.len(),
            _ => 1,
        }
    }
}

/// The columns that samples were made of. A sample has [`Columns::width`] runs of `each` values, a run for each value that
/// stands for a cell, so of shape `(width,)` or `(width, T)`: `T` rows of a series, `each = T`. Samples of shape
/// `(P, width)`, points of a set, have `each = 1` and repeat. A checkpoint keeps them, so that what was learnt of the
/// training rows is what samples, scores and measures are in.
///
/// ```
/// use ebm_core::{Cell, Cells, Column, Columns};
/// let age = Column { name: "age".into(), cells: Cells::Numbers { centre: 40.0, spread: 10.0 } };
/// let sex = Column { name: "sex".into(), cells: Cells::Words(vec!["f".into(), "m".into()]) };
/// let columns = Columns::new(vec![age, sex], 1);
/// let row = [Cell::Number(50.0), Cell::Word("m")];
/// let sample: Vec<f32> = columns.samples(&[0], |_, column| row[column]).unwrap();
/// assert_eq!(sample, [1.0, 0.0, 1.0]);
/// assert_eq!(columns.rows(&[1.5f32, 0.2, 0.9]), [["55", "m"]]);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Columns {
    columns: Vec<Column>,
    each: usize,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    series: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    label: Option<String>,
}

/// A word that a column does not have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoSuchCell {
    /// Its row, from 0.
    pub row: usize,
    /// Number of its column among these.
    pub column: usize,
    /// What stood there.
    pub found: String,
}

impl Columns {
    /// These columns, with so many values of a sample in a row for each value that stands for a cell.
    pub fn new(columns: Vec<Column>, each: usize) -> Self {
        Columns { columns, each: each.max(1), series: None, label: None }
    }

    /// The same of a table in which column `series` says of which series a row is: no sample has rows of two.
    #[must_use]
    pub fn of_series(self, series: Option<String>) -> Self {
        Columns { series, ..self }
    }

    /// The same of a table whose column `label` has the class of a row, which is a sample's condition.
    #[must_use]
    pub fn with_label(self, label: Option<String>) -> Self {
        Columns { label, ..self }
    }

    /// Name of the column that says of which series a row is.
    pub fn series(&self) -> Option<&str> {
        self.series.as_deref()
    }

    /// Name of the column of classes that are conditions.
    pub fn label(&self) -> Option<&str> {
        self.label.as_deref()
    }

    /// Whether samples were made of no table.
    pub fn is_empty(&self) -> bool {
        self.columns.is_empty()
    }

    /// The columns, in order.
    pub fn list(&self) -> &[Column] {
        &self.columns
    }

    /// Rows of a sample of a series; 1 of others.
    pub fn each(&self) -> usize {
        self.each.max(1)
    }

    /// Values that stand for a row.
    pub fn width(&self) -> usize {
        self.columns.iter().map(Column::width).sum()
    }

    /// The values that stand for a row's cells, as `(column, place)`: place within a one-hot vector, 0 of numbers.
    fn places(&self) -> Vec<(&Column, usize)> {
        self.columns.iter().flat_map(|c| (0..c.width()).map(move |place| (c, place))).collect()
    }

    /// Turns values of whole samples into the table's own units where they are numbers or angles; one-hot vectors stay.
    pub fn to_own<T: WithDType>(&self, values: &mut [T]) {
        self.each_value(values, |cells, v| match cells {
            Cells::Numbers { centre, spread } => v.mul_add(*spread, *centre),
            Cells::Angles { period } => (v / TAU * period).rem_euclid(*period),
            Cells::Words(_) => v,
        });
    }

    /// The way back of [`Columns::to_own`].
    pub fn from_own<T: WithDType>(&self, values: &mut [T]) {
        self.each_value(values, known);
    }

    fn each_value<T: WithDType>(&self, values: &mut [T], to: impl Fn(&Cells, f64) -> f64) {
        let (places, each) = (self.places(), self.each());
        if places.is_empty() {
            return;
        }
        for (i, v) in values.iter_mut().enumerate() {
            *v = T::from_f64(to(&places[i / each % places.len()].0.cells, v.to_f64()));
        }
    }

    /// The first rows of the samples of series of these lengths, which stand one behind the other: every `step`-th row of a series
    /// from which on [`Columns::each`] rows are left of it.
    pub fn starts(&self, lengths: &[usize], step: usize) -> Vec<usize> {
        let (mut first, mut all) = (0, Vec::new());
        for length in lengths {
            if let Some(last) = length.checked_sub(self.each()) {
                all.extend((0..=last).step_by(step.max(1)).map(|at| first + at));
            }
            first += length;
        }
        all
    }

    /// Values `(N, width)` or `(N, width, each)` of the samples that begin at these rows of a table and take
    /// [`Columns::each`] of them.
    ///
    /// # Errors
    /// At the first word that its column does not have.
    pub fn samples<'a, T: WithDType>(
        &self,
        starts: &[usize],
        cell: impl Fn(usize, usize) -> Cell<'a>,
    ) -> Result<Vec<T>, NoSuchCell> {
        let (each, width) = (self.each(), self.width());
        let mut all = vec![T::from_f64(0.0); starts.len() * each * width];
        for (start, values) in starts.iter().zip(all.chunks_exact_mut((each * width).max(1))) {
            for at in 0..each {
                let row = start + at;
                let mut first = 0;
                for (i, column) in self.columns.iter().enumerate() {
                    let refuse = |found: String| NoSuchCell { row, column: i, found };
                    match (cell(row, i), &column.cells) {
                        (Cell::Word(word), Cells::Words(words)) => {
                            let place = words.iter().position(|w| w == word);
                            let place = place.ok_or_else(|| refuse(word.to_string()))?;
                            values[(first + place) * each + at] = T::from_f64(1.0);
                        }
                        (Cell::Number(v), Cells::Numbers { .. } | Cells::Angles { .. }) => {
                            values[first * each + at] = T::from_f64(known(&column.cells, v));
                        }
                        (Cell::Word(found), _) => return Err(refuse(found.to_string())),
                        (Cell::Number(v), _) => return Err(refuse(v.to_string())),
                    }
                    first += column.width();
                }
            }
        }
        Ok(all)
    }

    /// The rows that stand for samples, in the table's own units and to the digits that the type of the values has: of words the
    /// likeliest one. A sample of a series has [`Columns::each`] rows.
    pub fn rows<T: WithDType>(&self, values: &[T]) -> Vec<Vec<String>> {
        let (each, width) = (self.each(), self.width());
        // A column may lie far from 0: its numbers have more digits than those that stand for them.
        let mut own: Vec<f64> = values.iter().map(|v| v.to_f64()).collect();
        let digits = if T::DTYPE == DType::F64 { 14.0 } else { 6.0 };
        self.to_own(&mut own);
        let mut rows = Vec::new();
        for sample in own.chunks_exact((each * width).max(1)) {
            for at in 0..each {
                let mut first = 0;
                let mut row = Vec::with_capacity(self.columns.len());
                for column in &self.columns {
                    let value = |place: usize| sample[(first + place) * each + at];
                    row.push(match &column.cells {
                        Cells::Words(words) => {
                            let likelier =
                                |best: usize, p: usize| if value(p) > value(best) { p } else { best };
                            words[(0..words.len()).fold(0, likelier)].clone()
                        }
                        cells => written(cells, value(0), digits),
                    });
                    first += column.width();
                }
                rows.push(row);
            }
        }
        rows
    }

    /// What a mean log density of samples of `len` values loses where it is taken over the table's own units and not over the
    /// numbers that stand for them: the sum of the logarithms of their spreads, in nats.
    pub fn log_units(&self, len: usize) -> f64 {
        let times = len / self.width().max(1);
        let log = |c: &Column| match &c.cells {
            Cells::Numbers { spread, .. } => spread.ln(),
            Cells::Angles { period } => (period / TAU).ln(),
            Cells::Words(_) => 0.0,
        };
        self.columns.iter().map(log).sum::<f64>() * times as f64
    }

    /// Whether an energy of them can have a finite integral: not if there are angles beside other columns, over whose line a
    /// periodic energy has none.
    ///
    /// # Errors
    /// In words, why not.
    pub fn bounded(&self) -> Result<(), String> {
        let is_angle = |c: &&Column| matches!(c.cells, Cells::Angles { .. });
        match self.columns.iter().find(is_angle) {
            Some(angle) if !self.columns.iter().all(|c| is_angle(&c)) => Err(format!(
                "has no meaning with the column of angles `{}` beside others: a periodic energy has no finite integral over its line",
                angle.name
            )),
            _ => Ok(()),
        }
    }

    /// What stands for a cell of each column, as a formula a line.
    pub fn formulas(&self) -> Vec<String> {
        let of = |c: &Column| match &c.cells {
            Cells::Numbers { centre, spread } => format!("{} = (cell - {centre:?}) / {spread:?}", c.name),
            Cells::Angles { period } => format!("{} = 2 pi cell / {period:?}, in -pi to pi", c.name),
            Cells::Words(words) => format!("{}: one-hot of {}", c.name, words.join(", ")),
        };
        self.columns.iter().map(of).collect()
    }

    /// Whether there are words.
    pub fn has_words(&self) -> bool {
        self.columns.iter().any(|c| matches!(c.cells, Cells::Words(_)))
    }

    /// What first tells `other` from these, in words; `None` if nothing does.
    pub fn difference(&self, other: &Columns) -> Option<String> {
        let names = |c: &Columns| c.columns.iter().map(|c| c.name.clone()).collect::<Vec<_>>().join(", ");
        let (own, others) = (names(self), names(other));
        if own != others || self.each() != other.each() {
            let series =
                |c: &Columns| if c.each() > 1 { format!(", {} rows", c.each()) } else { String::new() };
            return Some(format!("[{own}{}] and [{others}{}]", series(self), series(other)));
        }
        let mut pairs = self.columns.iter().zip(&other.columns);
        pairs
            .find(|(a, b)| !alike(&a.cells, &b.cells))
            .map(|(a, b)| format!("column `{}`: {} and {}", a.name, said(&a.cells), said(&b.cells)))
    }
}

/// What stands for a number in a table's own units.
fn known(cells: &Cells, v: f64) -> f64 {
    match cells {
        Cells::Numbers { centre, spread } => (v - centre) / spread,
        Cells::Angles { period } => {
            let turn = (v / period).rem_euclid(1.0);
            TAU * if turn > 0.5 { turn - 1.0 } else { turn }
        }
        Cells::Words(_) => v,
    }
}

/// Numbers that were written and read again may differ in their last bit.
fn alike(a: &Cells, b: &Cells) -> bool {
    let near = |a: f64, b: f64| (a - b).abs() <= 4.0 * f64::EPSILON * a.abs().max(b.abs());
    match (a, b) {
        (Cells::Numbers { centre: a, spread: s }, Cells::Numbers { centre: b, spread: t }) => {
            near(*a, *b) && near(*s, *t)
        }
        (Cells::Angles { period: a }, Cells::Angles { period: b }) => near(*a, *b),
        (a, b) => a == b,
    }
}

/// A number of a table to so many digits behind its unit, which are those of what stands for it: a millionth of the unit in single
/// precision.
fn written(cells: &Cells, v: f64, digits: f64) -> String {
    let unit = match cells {
        Cells::Numbers { spread, .. } => *spread,
        Cells::Angles { period } => *period,
        Cells::Words(_) => 1.0,
    };
    let places = (digits - unit.abs().log10().floor()).clamp(0.0, 17.0) as usize;
    let text = format!("{v:.places$}");
    let short = if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
    if short == "-0" { "0".into() } else { short.into() }
}

fn said(cells: &Cells) -> String {
    match cells {
        Cells::Numbers { centre, spread } => format!("numbers around {centre}, spread {spread}"),
        Cells::Angles { period } => format!("angles of period {period}"),
        Cells::Words(words) => format!("the words {}", words.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn columns(each: usize) -> Columns {
        let column = |name: &str, cells| Column { name: name.into(), cells };
        let words = Cells::Words(["a", "b", "c"].map(String::from).to_vec());
        Columns::new(
            vec![
                column("x", Cells::Numbers { centre: 5.0, spread: 2.0 }),
                column("w", words),
                column("wind", Cells::Angles { period: 360.0 }),
            ],
            each,
        )
    }

    const ROWS: [[Cell<'static>; 3]; 4] = [
        [Cell::Number(7.0), Cell::Word("a"), Cell::Number(90.0)],
        [Cell::Number(3.0), Cell::Word("c"), Cell::Number(270.0)],
        [Cell::Number(5.0), Cell::Word("b"), Cell::Number(-720.0)],
        [Cell::Number(6.0), Cell::Word("b"), Cell::Number(180.0)],
    ];

    #[test]
    fn a_series_has_its_channels_first_and_comes_back_row_by_row() {
        let two = columns(2);
        let values = two.samples::<f32>(&two.starts(&[4], 1), |row, column| ROWS[row][column]).unwrap();
        // Three windows of two rows, five channels.
        assert_eq!(values.len(), 3 * 2 * 5);
        assert_eq!(values[..8], [1.0, -1.0, 1.0, 0.0, 0.0, 0.0, 0.0, 1.0]);
        assert!(
            (f64::from(values[8]) - TAU / 4.0).abs() < 1e-6
                && (f64::from(values[9]) + TAU / 4.0).abs() < 1e-6
        );
        let rows = two.rows(&values[..10]);
        assert_eq!([&rows[0][..2], &rows[1][..2]], [["7", "a"], ["3", "c"]]);
        assert!((rows[1][2].parse::<f64>().unwrap() - 270.0).abs() < 1e-3, "{rows:?}");
        assert_eq!((two.starts(&[3], 2), columns(9).starts(&[4], 1)), (vec![0], vec![]));
        // Three series, of which one is too short: no sample has rows of two.
        assert_eq!((two.starts(&[3, 1, 2], 1), two.starts(&[4, 4], 2)), (vec![0, 1, 4], vec![0, 2, 4, 6]));
    }

    #[test]
    fn own_units_and_back_are_the_same_numbers() {
        let one = columns(1);
        let values = one.samples::<f32>(&[0, 1, 2, 3], |row, column| ROWS[row][column]).unwrap();
        let mut there = values.clone();
        one.to_own(&mut there);
        assert_eq!(there[..4], [7.0, 1.0, 0.0, 0.0]);
        one.from_own(&mut there);
        assert!(values.iter().zip(&there).all(|(a, b)| (a - b).abs() < 1e-6), "{values:?} {there:?}");
        // Double precision keeps the digits of its own.
        let third = [Cell::Number(1.0 / 3.0), Cell::Word("a"), Cell::Number(90.0)];
        let double = one.samples::<f64>(&[0], |_, column| third[column]).unwrap();
        assert!((one.rows(&double)[0][0].parse::<f64>().unwrap() - 1.0 / 3.0).abs() < 1e-13);
        // One spread of 2 and a turn of 360 degrees.
        assert!((one.log_units(5) - (2f64.ln() + (360.0 / TAU).ln())).abs() < 1e-12);
        assert!((one.log_units(15) - 3.0 * one.log_units(5)).abs() < 1e-12);
    }

    #[test]
    fn unknown_words_and_other_columns_are_told() {
        let one = columns(1);
        let unknown = one.samples::<f32>(&[0], |_, c| if c == 1 { Cell::Word("z") } else { ROWS[0][c] });
        assert_eq!(unknown.unwrap_err(), NoSuchCell { row: 0, column: 1, found: "z".into() });
        let text = serde_json::to_string(&one).unwrap();
        assert_eq!(one.difference(&serde_json::from_str(&text).unwrap()), None);
        let mut other = one.clone();
        other.columns[0].cells = Cells::Numbers { centre: 5.0, spread: 2.1 };
        assert!(one.difference(&other).unwrap().contains("`x`"));
        other.columns.pop();
        assert!(one.difference(&other).unwrap().contains("wind"));
        assert!(one.difference(&columns(2)).is_some());
    }
}
