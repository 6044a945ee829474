//! Classes of one set in the numbers of another, by their names.

use ebm_core::{Columns, Given};
use ebm_data::table::{Table, TableOptions, Take};

use super::read::has_names;
use super::set::{From, Inputs};
use crate::error::{Error, Result};

impl Inputs {
    /// The classes of a table's rows and their names, by the column that `known`, a model's table, has for them. `None` of other
    /// sets, of tables without this column, and of series, whose samples are of many rows.
    ///
    /// # Errors
    /// If the table cannot be read.
    pub(crate) fn table_classes(&self, known: &Columns) -> Result<Option<(Vec<u32>, Vec<String>)>> {
        let (From::Table(path), Some(label), 1) = (&self.from, known.label(), known.each()) else {
            return Ok(None);
        };
        let options = TableOptions { header: Some(has_names(path, known)), ..TableOptions::default() };
        if !Table::names(path, &options)?.iter().any(|name| name == label) {
            return Ok(None);
        }
        let table = Table::read(path, &options, &[(label.to_string(), Take::Words)])?;
        let names = table.words(0);
        let place = |row| names.iter().position(|n| Some(n.as_str()) == table.word(row, 0)).unwrap_or(0);
        Ok(Some(((0..table.len()).map(|row| place(row) as u32).collect(), names)))
    }
}

/// Labels of the samples of `set`, whose classes have these `names`, in the numbers of classes called `known`; as they are where
/// either has no names, which leaves only the numbers to go by.
///
/// # Errors
/// If a class that occurs has a name that is not known.
pub(crate) fn renumbered(
    labels: Vec<u32>,
    names: &[String],
    known: &[String],
    set: &str,
) -> Result<Vec<u32>> {
    if names.is_empty() || known.is_empty() || names == known {
        return Ok(labels);
    }
    let mut numbers = vec![None; names.len()];
    labels
        .into_iter()
        .map(|label| {
            let place = label as usize;
            let (Some(name), Some(number)) = (names.get(place), numbers.get_mut(place)) else {
                let message = format!("class {label} is beyond its {} names", names.len());
                return Err(Error::unfit(set, message));
            };
            if let Some(number) = number {
                return Ok(*number);
            }
            let found =
                number_of(name, known).map_err(|why| Error::unfit(set, format!("class `{name}`: {why}")))?;
            Ok(*number.insert(found))
        })
        .collect()
}

/// The number of the class of this name.
fn number_of(name: &str, known: &[String]) -> std::result::Result<u32, String> {
    let hot = Given::Name(name.to_string()).vector(known.len(), known)?;
    Ok(hot.iter().position(|v| *v == 1.0).unwrap_or(0) as u32)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn words(all: &[&str]) -> Vec<String> {
        all.iter().map(|w| (*w).to_string()).collect()
    }

    #[test]
    fn classes_are_matched_by_name_where_both_have_names() {
        let known = words(&["ant", "bee", "cat", "dog"]);
        let found = renumbered(vec![0, 2, 1, 0], &words(&["bee", "cat", "dog"]), &known, "s").unwrap();
        assert_eq!(found, [1, 3, 2, 1]);
        for (names, known) in [(vec![], known.clone()), (words(&["bee", "cat", "dog"]), vec![])] {
            assert_eq!(renumbered(vec![2, 0], &names, &known, "s").unwrap(), [2, 0]);
        }
        // A name that does not occur does no harm.
        assert_eq!(renumbered(vec![1], &words(&["cow", "dog"]), &known, "s").unwrap(), [3]);
        let refused = renumbered(vec![0], &words(&["cow", "dog"]), &known, "s").unwrap_err().to_string();
        assert!(refused.contains("s: class `cow`") && refused.contains("ant"), "{refused}");
        assert!(renumbered(vec![7], &words(&["dog"]), &known, "s").is_err());
    }
}
