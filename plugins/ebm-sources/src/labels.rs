//! Classes of samples as a file gives them: as many as samples, none missing, not absurdly many.

use std::path::{Path, PathBuf};

use ebm_core::{BuildCx, Result, Settings};
use ebm_data::npy::Classes;

use crate::points::too_many;

/// What becomes of samples whose class is missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Settings)]
pub enum MissingLabels {
    /// Where classes are asked for an error; else the set has no classes, with a word.
    Refuse,
    /// They are left out, with a word.
    Drop,
}

/// The classes of a part of a set.
#[derive(Default)]
pub(crate) struct Given {
    /// Of every sample that is kept; `None` if there are no classes, or not of all samples.
    pub labels: Option<Vec<u32>>,
    /// By their number; empty if they have none.
    pub names: Vec<String>,
    /// The samples that are kept; absent: all.
    pub kept: Option<Vec<usize>>,
}

impl Given {
    /// Of classes that a file gives for `count` samples; `wanted` if they are asked for as conditions. `setting` named them.
    ///
    /// # Errors
    /// If they are not as many as samples, or are asked for and are missing or absurdly many.
    pub fn settled(
        cx: &mut BuildCx,
        classes: Option<(PathBuf, Classes)>,
        setting: &str,
        count: usize,
        (missing, wanted): (MissingLabels, bool),
    ) -> Result<Self> {
        let Some((file, Classes { labels, names })) = classes else { return Ok(Given::default()) };
        if labels.len() != count {
            let message = format!(
                "holds {} classes in {}, expected {count} as there are samples",
                labels.len(),
                file.display()
            );
            return Err(cx.refuse(setting, message));
        }
        let none: Vec<usize> = (0..count).filter(|row| labels[*row].is_none()).collect();
        if wanted {
            let given: Vec<u32> = labels.iter().map(|l| l.unwrap_or(0)).collect();
            let classes = names.len().max(given.iter().max().map_or(0, |most| *most as usize + 1));
            let place = |row| format!("the label of row {row} of {}", file.display());
            if let Some(message) = too_many(&given, classes, place) {
                return Err(cx.refuse("labels", message));
            }
        }
        let Some(first) = none.first().copied() else {
            return Ok(Given { labels: Some(labels.into_iter().flatten().collect()), names, kept: None });
        };
        let found = Missing { file: &file, none: none.len(), of: count, first };
        match missing {
            MissingLabels::Drop if none.len() == count => Err(cx.refuse(setting, found.none_left())),
            MissingLabels::Drop => {
                cx.note(found.dropped());
                let kept = (0..count).filter(|row| labels[*row].is_some()).collect();
                let labels = labels.into_iter().flatten().collect();
                Ok(Given { labels: Some(labels), names, kept: Some(kept) })
            }
            MissingLabels::Refuse if wanted => Err(cx.refuse("missing_labels", found.refused())),
            MissingLabels::Refuse => {
                cx.note(found.without());
                Ok(Given { names, ..Given::default() })
            }
        }
    }
}

/// What there is to say of missing classes.
pub(crate) struct Missing<'a> {
    /// Where they are.
    pub file: &'a Path,
    /// How many are missing.
    pub none: usize,
    /// Of how many samples.
    pub of: usize,
    /// The first row without one.
    pub first: usize,
}

impl Missing<'_> {
    fn text(&self) -> String {
        let Missing { file, none, of, first } = self;
        format!(
            "{none} of {of} classes of {} are missing (below 0 or no number), the first that of row {first}",
            file.display()
        )
    }

    /// Why a run that asks for classes cannot begin.
    pub fn refused(&self) -> String {
        let way = "set it to \"drop\" to leave these samples out, or labels to false to do without classes";
        format!("is \"refuse\", and {}: {way}", self.text())
    }

    /// That the set has no classes.
    pub fn without(&self) -> String {
        format!("{}: the set is taken without classes", self.text())
    }

    /// That samples are left out.
    pub fn dropped(&self) -> String {
        format!("{}: these samples are left out", self.text())
    }

    fn none_left(&self) -> String {
        format!("names classes of which all are missing, in {}: no sample is left", self.file.display())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use ebm_core::Key;
    use ebm_core::candle::{DType, Device};

    use super::*;

    fn settled(labels: &[i64], way: (MissingLabels, bool)) -> (Result<Given>, String) {
        let mut cx = BuildCx::new(&[], DType::F32, &Device::Cpu, Key::root(0)).with_path("data");
        let labels = labels.iter().map(|l| u32::try_from(*l).ok()).collect();
        let classes = Classes { labels, names: Vec::new() };
        let given = Given::settled(&mut cx, Some(("y.npy".into(), classes)), "label_array", 3, way);
        (given, cx.notes().join("\n"))
    }

    #[test]
    fn missing_classes_are_refused_left_out_or_nothing() {
        let (given, notes) = settled(&[2, -1, 0], (MissingLabels::Refuse, false));
        assert!(
            given.unwrap().labels.is_none() && notes.contains("1 of 3 classes of y.npy are missing"),
            "{notes}"
        );
        let (given, _) = settled(&[2, -1, 0], (MissingLabels::Refuse, true));
        let text = given.err().unwrap().to_string();
        assert!(
            text.contains("data.missing_labels") && text.contains("row 1") && text.contains("\"drop\""),
            "{text}"
        );
        let (given, notes) = settled(&[2, -1, 0], (MissingLabels::Drop, true));
        let given = given.unwrap();
        assert_eq!((given.labels.unwrap(), given.kept.unwrap()), (vec![2, 0], vec![0, 2]));
        assert!(notes.contains("these samples are left out"), "{notes}");
        let (given, _) = settled(&[-1, -1, -1], (MissingLabels::Drop, false));
        assert!(given.err().unwrap().to_string().contains("no sample is left"));
    }

    #[test]
    fn other_counts_and_numbers_that_are_no_classes_are_named_by_file_and_row() {
        let text =
            |labels: &[i64]| settled(labels, (MissingLabels::Refuse, true)).0.err().unwrap().to_string();
        assert!(text(&[1]).contains("holds 1 classes in y.npy, expected 3"));
        assert!(text(&[1, 7, 4_000_000_000]).contains("row 2 of y.npy is 4000000000"));
        let (given, _) = settled(&[1, 7, 4_000_000_000], (MissingLabels::Refuse, false));
        assert_eq!(given.unwrap().labels.unwrap()[2], 4_000_000_000);
    }
}
