//! Which columns of a file `table` reads, and how.

use std::path::Path;

use ebm_core::{BuildCx, Result};
use ebm_data::table::{Table, TableOptions, Take, is_index};

use crate::data_error;
use crate::table::TableRows;

impl TableRows {
    pub(crate) fn options(&self, cx: &BuildCx) -> Result<TableOptions> {
        let delimiter = match self.delimiter.as_deref().map(str::as_bytes) {
            None => None,
            Some([one]) if one.is_ascii() && !b"\"\r\n".contains(one) => Some(*one),
            Some(_) => return Err(cx.refuse("delimiter", "is no single ASCII character, such as \";\"")),
        };
        Ok(TableOptions { delimiter, header: self.header })
    }

    /// The columns that are read, those of samples first and the label behind them.
    pub(crate) fn wanted(
        &self,
        cx: &mut BuildCx,
        path: &Path,
        options: &TableOptions,
    ) -> Result<Vec<(String, Take)>> {
        let names = Table::names(path, options).map_err(data_error)?;
        let angles: Vec<String> = self.angles.iter().map(|a| a.column.clone()).collect();
        let label: Vec<String> = self.label.iter().cloned().collect();
        let series: Vec<String> = self.series.iter().cloned().collect();
        for (setting, named) in [
            ("columns", &self.columns),
            ("leave_out", &self.leave_out),
            ("categories", &self.categories),
            ("angles", &angles),
            ("label", &label),
            ("series", &series),
        ] {
            for (i, name) in named.iter().enumerate() {
                if !names.contains(name) {
                    let message =
                        format!("names the column `{name}`, but {} has {}", path.display(), names.join(", "));
                    return Err(cx.refuse(setting, message));
                }
                if named[..i].contains(name) {
                    return Err(cx.refuse(setting, format!("names the column `{name}` twice")));
                }
            }
        }
        let wanted: Vec<String> = match self.columns.is_empty() {
            true => {
                for name in names.iter().filter(|n| is_index(n) && !self.leave_out.contains(n)) {
                    cx.note(format!(
                        "the column `{name}` is left out, as pandas writes the numbers of rows under this name; name it among columns to take it"
                    ));
                }
                let beside = [&self.leave_out, &label, &series];
                let left = |n: &&String| !is_index(n) && !beside.iter().any(|names| names.contains(n));
                names.iter().filter(left).cloned().collect()
            }
            false => self.columns.clone(),
        };
        for name in &wanted {
            if [&label, &series, &self.leave_out].iter().any(|names| names.contains(name)) {
                let message =
                    format!("names the column `{name}`, which is the label, the series or left out");
                return Err(cx.refuse("columns", message));
            }
        }
        if wanted.is_empty() {
            return Err(cx.refuse("columns", "leaves no column that makes a sample"));
        }
        for (setting, named) in [("categories", &self.categories), ("angles", &angles)] {
            if let Some(name) = named.iter().find(|n| !wanted.contains(n)) {
                return Err(cx.refuse(setting, format!("names the column `{name}`, which makes no sample")));
            }
        }
        if let Some(name) = angles.iter().find(|n| self.categories.contains(n)) {
            return Err(cx.refuse("angles", format!("names the column `{name}`, which is one of categories")));
        }
        if self.labels && label.is_empty() {
            return Err(cx.refuse("labels", "asks for labels, but there are none: name the column as label"));
        }
        if self.window > 1 && !label.is_empty() {
            return Err(
                cx.refuse("label", "gives each row a class, but a sample is a window of rows: leave it out")
            );
        }
        if self.window == 1 && self.series.is_some() {
            return Err(cx.refuse(
                "series",
                "tells windows apart, but a sample is one row: set window, or leave it out",
            ));
        }
        if let (Some(step), 1) = (self.step, self.window) {
            let message = format!(
                "would take one row in {step} and leave the others out, as a sample is one row: set window to have series, or leave it out"
            );
            return Err(cx.refuse("step", message));
        }
        let take = |n: &String| if self.categories.contains(n) { Take::Words } else { Take::Numbers };
        let of_samples = wanted.into_iter().map(|n| (n.clone(), take(&n)));
        Ok(of_samples.chain(label.into_iter().chain(series).map(|n| (n, Take::Words))).collect())
    }
}
