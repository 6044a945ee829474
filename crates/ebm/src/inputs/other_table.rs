//! Samples of another table as the samples of a model's own: its columns by their names, its numbers in the model's standardising.

use ebm_core::{Cells, Column, Columns};

/// Where a value of a sample comes from in a sample of another table, and how.
enum Way {
    /// As it is, as of angles of the same turn and of words.
    Same(usize),
    /// A number or an angle of other cells, by way of the table's own units: each a table of one column.
    Through(usize, Columns, Columns),
    /// A word that the other table does not have.
    Absent,
}

/// Samples of the columns `own`, one after the other, as samples of the columns `known`.
///
/// # Errors
/// In words, if `own` is without a column or has other rows a sample, or a sample has a word that is not known.
pub(super) fn as_known(values: &[f64], own: &Columns, known: &Columns) -> Result<Vec<f64>, String> {
    let each = known.each();
    if own.each() != each {
        return Err(format!("has samples of {} rows, expected {each}", own.each()));
    }
    let places =
        |column: &Column| own.list().iter().take_while(|c| c.name != column.name).map(Column::width).sum();
    let (mut ways, mut strange) = (Vec::with_capacity(known.width()), Vec::new());
    for column in known.list() {
        let Some(other) = own.list().iter().find(|c| c.name == column.name) else {
            let names: Vec<&str> = own.list().iter().map(|c| c.name.as_str()).collect();
            return Err(format!(
                "is without a column `{}`, expected one of {}",
                column.name,
                names.join(", ")
            ));
        };
        let at: usize = places(column);
        match (&column.cells, &other.cells) {
            (Cells::Words(words), Cells::Words(others)) => {
                let place =
                    |word| others.iter().position(|o| o == word).map_or(Way::Absent, |p| Way::Same(at + p));
                ways.extend(words.iter().map(place));
                let unknown = others.iter().enumerate().filter(|(_, o)| !words.contains(o));
                strange.extend(unknown.map(|(p, word)| (at + p, &column.name, word)));
            }
            (Cells::Words(_), _) | (_, Cells::Words(_)) => {
                return Err(format!(
                    "has words or numbers in column `{}`, where the model has the other",
                    column.name
                ));
            }
            (a, b) if a == b => ways.push(Way::Same(at)),
            _ => {
                let alone = |column: &Column| Columns::new(vec![column.clone()], 1);
                ways.push(Way::Through(at, alone(other), alone(column)));
            }
        }
    }
    let mut all = Vec::with_capacity(values.len());
    for sample in values.chunks(own.width() * each) {
        let of = |place: usize, row: usize| sample.get(place * each + row).copied().unwrap_or(f64::NAN);
        let found = strange.iter().find(|(place, ..)| (0..each).any(|row| of(*place, row) > 0.5));
        if let Some((_, name, word)) = found {
            return Err(format!("holds `{word}` in column `{name}`, which no training row did"));
        }
        for way in &ways {
            all.extend((0..each).map(|row| match way {
                Way::Same(place) => of(*place, row),
                Way::Through(place, from, to) => through(of(*place, row), from, to),
                Way::Absent => 0.0,
            }));
        }
    }
    Ok(all)
}

fn through(value: f64, from: &Columns, to: &Columns) -> f64 {
    let mut value = [value];
    from.to_own(&mut value);
    to.from_own(&mut value);
    value[0]
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn columns(all: &[(&str, Cells)], each: usize) -> Columns {
        let column = |(name, cells): &(&str, Cells)| Column { name: (*name).into(), cells: cells.clone() };
        Columns::new(all.iter().map(column).collect(), each)
    }

    fn words(all: &[&str]) -> Cells {
        Cells::Words(all.iter().map(|w| (*w).to_string()).collect())
    }

    #[test]
    fn columns_go_by_their_names_numbers_by_their_units_and_words_by_their_letters() {
        let number = |centre, spread| Cells::Numbers { centre, spread };
        let turn = || Cells::Angles { period: 12.0 };
        let known = columns(&[("a", number(1.0, 2.0)), ("k", words(&["x", "y"])), ("t", turn())], 1);
        let own = columns(
            &[("t", turn()), ("k", words(&["w", "y"])), ("b", number(0.0, 1.0)), ("a", number(5.0, 10.0))],
            1,
        );
        // Half a turn in single precision is a little more than half a turn: it stays where it is.
        let half = f64::from(std::f32::consts::PI);
        let found = as_known(&[half, 0.0, 1.0, 7.0, 0.6], &own, &known).unwrap();
        assert_eq!(found, [5.0, 0.0, 1.0, half]);
        let text = as_known(&[half, 1.0, 0.0, 7.0, 0.6], &own, &known).unwrap_err();
        assert!(text.contains("`w` in column `k`"), "{text}");
        let text = as_known(&[half], &columns(&[("t", turn())], 1), &known).unwrap_err();
        assert!(text.contains("without a column `a`"), "{text}");
        // Series: the rows of a column stand side by side.
        let (a, b) = (("a", number(0.0, 1.0)), ("b", number(0.0, 2.0)));
        let turned =
            as_known(&[1.0, 2.0, 30.0, 40.0], &columns(&[a.clone(), b.clone()], 2), &columns(&[b, a], 2));
        assert_eq!(turned.unwrap(), [30.0, 40.0, 1.0, 2.0]);
    }
}
