//! Classes of one set in the numbers of another, by their names.

use ebm_core::Given;

use crate::error::{Error, Result};

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
