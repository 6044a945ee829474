//! `table`: rows of a CSV or Parquet file as samples, or windows of its rows as series.

use std::f32::consts::PI;
use std::path::PathBuf;
use std::sync::Arc;

use ebm_core::{
    BuildCx, Cell, Cells, Column, Columns, DataConfig, DataSource, Domain, Error, Result, Settings, plugin,
};
use ebm_data::table::{MOST_VALUES, Table, Take};
use ebm_data::{ArraySet, split};

use crate::points::Labels;
use crate::standard::standard;
use crate::table_part::Part;
use crate::{Order, PointSource, data_error, placed, some_are_left};

/// More one-hot values of a column than this are text or identities, not categories.
const MOST_CATEGORIES: usize = 256;

/// Settings of `table`.
#[derive(Clone, Debug, Settings)]
pub struct TableRows {
    /// File of training rows: CSV, or Parquet if it ends in parquet; relative to the configuration file.
    pub path: PathBuf,
    /// File of held-out rows with the same columns.
    pub held_out: Option<PathBuf>,
    /// Without a held-out file: hold out every this many samples; 0 for none.
    #[setting(default = 0, at_least = 0)]
    pub held_out_every: usize,
    /// Without a held-out file: hold out so many rows at the end, as of a series; 0 for none.
    #[setting(default = 0, at_least = 0, unit = "rows")]
    pub held_out_last: usize,
    /// Columns that make a sample, in this order; empty: all but the label, the series and those left out.
    #[setting(default = [])]
    pub columns: Vec<String>,
    /// Columns that are not read.
    #[setting(default = [])]
    pub leave_out: Vec<String>,
    /// Columns of words, or of whole numbers that are names: one-hot vectors.
    #[setting(default = [])]
    pub categories: Vec<String>,
    /// Columns of angles, which become radians.
    #[setting(default = [])]
    pub angles: Vec<AngleColumn>,
    /// Column of classes.
    pub label: Option<String>,
    /// Label as one-hot condition.
    #[setting(default = false)]
    pub labels: bool,
    /// Whether numbers get mean 0 and deviation 1 over the training rows.
    #[setting(default = true)]
    pub standardise: bool,
    /// Rows of a sample; of more than 1 samples are series of shape (columns, window).
    #[setting(default = 1, at_least = 1, at_most = 1e6, unit = "rows")]
    pub window: usize,
    /// Column that says of which series a row is: no window has rows of two. Rows of a series may stand apart.
    pub series: Option<String>,
    /// Rows from the beginning of a window to that of the next; absent: `window`.
    #[setting(at_least = 1, unit = "rows")]
    pub step: Option<usize>,
    /// Deviation of Gaussian noise added to all values afresh at each draw, after standardising.
    #[setting(default = 0.0, at_least = 0.0)]
    pub noise: f64,
    /// The character between values of text; absent: the one of comma, semicolon and tab that the first line has most of.
    pub delimiter: Option<String>,
    /// Whether the first line has the names of the columns; else they are called "1", "2" and so on. Absent: it has, and is refused
    /// if one of them is a number or a word that its own column has.
    pub header: Option<bool>,
    /// Order of an epoch.
    #[setting(default = Order::Shuffle)]
    pub order: Order,
}

/// A column of angles.
#[derive(Clone, Debug, Settings)]
pub struct AngleColumn {
    /// Its name.
    pub column: String,
    /// A whole turn in the table's own units.
    #[setting(default = 360.0, above = 0.0)]
    pub period: f64,
}

#[plugin(
    "table",
    summary = "rows of a CSV or Parquet file: standardised numbers, one-hot words, angles; or windows of them as series",
    source = "RFC 4180; Apache Parquet",
    example = "path = \"train.csv\"\nheld_out_every = 10"
)]
impl DataConfig for TableRows {
    fn make(&self, cx: &mut BuildCx) -> Result<Arc<dyn DataSource>> {
        let options = self.options(cx)?;
        let path = cx.resolve(&self.path);
        let wanted = self.wanted(cx, &path, &options)?;
        let whole = Table::read(&path, &options, &wanted).map_err(data_error)?;
        let step = self.step.unwrap_or(self.window);
        let (train, last) = self.hold_out(cx, whole, step)?;
        // The label or the series is read behind the columns of samples; no table has both.
        let series = self.series.as_ref().map(|_| wanted.len() - 1);
        let first_held = train.len();
        let train = Part::new(train, path.clone(), 0, series);
        let held = match (&self.held_out, last) {
            (Some(file), _) => {
                let file = cx.resolve(file);
                let table = Table::read(&file, &options, &wanted).map_err(data_error)?;
                Some(Part::new(table, file, 0, series))
            }
            (None, Some(table)) => Some(Part::new(table, path, first_held, series)),
            (None, None) => None,
        };
        let parts = Parts { train, held };
        let columns = self.learnt(cx, &parts.train, &wanted)?;
        let columns = columns.of_series(self.series.clone());
        let columns = columns.with_label(self.label.clone().filter(|_| self.labels));
        let mut train = self.samples(cx, &columns, &parts.train, step)?;
        let mut held = parts.held.as_ref().map(|part| self.samples(cx, &columns, part, step)).transpose()?;
        let mut labels = self.classes(cx, &parts)?;
        if self.held_out_every > 0 {
            let (kept, out) = split::every(train.len(), self.held_out_every).map_err(data_error)?;
            held = Some(train.select(&out).map_err(data_error)?);
            train = train.select(&kept).map_err(data_error)?;
            let part = |rows: &[usize]| labels.train.as_ref().map(|l| rows.iter().map(|i| l[*i]).collect());
            (labels.train, labels.held_out) = (part(&kept), part(&out));
        }
        let all_angles = columns.list().iter().all(|c| matches!(c.cells, Cells::Angles { .. }));
        if !all_angles && !self.angles.is_empty() {
            cx.note("angles stand beside other columns: a periodic energy has no finite integral over them, so no held-out likelihood");
        }
        if columns.has_words() && self.noise == 0.0 {
            cx.note("one-hot vectors have a density only with noise on them: `noise` spreads them, 0.1 to 0.3 for a start");
        }
        let source = PointSource::new("table", train, held, self.order, self.noise);
        let source = source.map(|s| s.with_labels(labels).with_columns(columns));
        let turn = f64::from(PI);
        let on_circles = |s: PointSource| if all_angles { s.on(Domain::Box(-turn, turn)) } else { Ok(s) };
        placed(cx, "table", source.and_then(on_circles))
    }
}

/// Training and held-out rows.
struct Parts {
    train: Part,
    held: Option<Part>,
}

impl TableRows {
    /// Refuses two ways of holding out, and takes the last rows out of training: those to train on, and the last ones.
    fn hold_out(&self, cx: &BuildCx, whole: Table, step: usize) -> Result<(Table, Option<Table>)> {
        some_are_left(cx, self.held_out_every)?;
        let ways = [self.held_out.is_some(), self.held_out_every > 0, self.held_out_last > 0];
        if ways.iter().filter(|w| **w).count() > 1 {
            let setting = if self.held_out_every > 0 { "held_out_every" } else { "held_out_last" };
            return Err(cx.refuse(setting, "is a second way of holding rows out: leave one of them out"));
        }
        if self.held_out_every > 0 && step < self.window {
            let message = format!(
                "would hold out windows that share rows with those of training, as step = {step} is below window = {}: set held_out_last",
                self.window
            );
            return Err(cx.refuse("held_out_every", message));
        }
        if self.held_out_last == 0 {
            return Ok((whole, None));
        }
        let rows = whole.len();
        let Some(kept) = rows.checked_sub(self.held_out_last).filter(|kept| *kept > 0) else {
            let message =
                format!("is {}, but the table has {rows} rows: leave some to train on", self.held_out_last);
            return Err(cx.refuse("held_out_last", message));
        };
        let (first, last): (Vec<usize>, Vec<usize>) = ((0..kept).collect(), (kept..rows).collect());
        Ok((whole.select(&first), Some(whole.select(&last))))
    }

    /// What stands for the cells of each column, learnt of the training rows alone.
    fn learnt(&self, cx: &BuildCx, part: &Part, wanted: &[(String, Take)]) -> Result<Columns> {
        let table = &part.table;
        // Every so many samples are held out, so what is learnt must not see their rows.
        let trains = part.learns(self.held_out_every, self.window, self.step.unwrap_or(self.window));
        let mut columns = Vec::new();
        let beside = [&self.label, &self.series];
        for (at, (name, take)) in
            wanted.iter().enumerate().filter(|(_, (n, _))| !beside.iter().any(|b| b.as_ref() == Some(n)))
        {
            let refuse = |setting: &str, what: &str| cx.refuse(setting, format!("of column `{name}` {what}"));
            let cells = match (take, self.angles.iter().find(|a| a.column == *name)) {
                (_, Some(angle)) => Cells::Angles { period: angle.period },
                (Take::Words, _) => Cells::Words(table.words(at)),
                (Take::Numbers, _) if !self.standardise => Cells::Numbers { centre: 0.0, spread: 1.0 },
                (Take::Numbers, _) => {
                    let rows = (0..table.len()).filter(|row| trains[*row]);
                    standard(rows.filter_map(|row| table.number(row, at)))
                        .map_err(|e| refuse("standardise", &e))?
                }
            };
            match &cells {
                Cells::Words(words) if words.len() > MOST_CATEGORIES => {
                    let what = format!(
                        "has {} different words, wanted at most {MOST_CATEGORIES}: is it text or an identity? Leave it out",
                        words.len()
                    );
                    return Err(refuse("categories", &what));
                }
                Cells::Words(words) if words.len() < 2 => {
                    let what = "has one word in all training rows: leave it out";
                    return Err(refuse("categories", what));
                }
                _ => {}
            }
            columns.push(Column { name: name.clone(), cells });
        }
        Ok(Columns::new(columns, self.window))
    }

    fn samples(&self, cx: &mut BuildCx, columns: &Columns, part: &Part, step: usize) -> Result<ArraySet> {
        let (table, width) = (&part.table, columns.width());
        let starts = part.starts(columns, step);
        let (short, all) = part.too_short(self.window);
        if starts.is_empty() {
            let rows = table.len();
            let series = self.series.as_ref().map_or(String::new(), |_| format!(" in {all} series"));
            let message =
                format!("is {}, but {} has {rows} rows{series} for it", self.window, part.file.display());
            return Err(cx.refuse("window", message));
        }
        if short > 0 {
            cx.note(format!(
                "{short} of {all} series of {} have fewer than {} rows and are left out",
                part.file.display(),
                self.window
            ));
        }
        let count = starts.len();
        if count.saturating_mul(self.window).saturating_mul(width) > MOST_VALUES {
            let message = format!(
                "makes {count} samples of {} values, wanted at most {MOST_VALUES} in all: widen it, or name fewer columns",
                self.window * width
            );
            return Err(cx.refuse("step", message));
        }
        let cell = |row: usize, at: usize| match table.word(row, at) {
            Some(word) => Cell::Word(word),
            None => Cell::Number(table.number(row, at).unwrap_or(f64::NAN)),
        };
        let values = columns.samples(&starts, cell).map_err(|e| {
            let name = columns.list().get(e.column).map_or("", |c| c.name.as_str());
            let message = format!(
                "row {} (from 0) holds `{}` in column `{name}`, which no training row does: leave the row out, or train on it",
                part.row_of_file(e.row),
                e.found
            );
            Error::data(&part.file, message)
        })?;
        let dims = if self.window > 1 { vec![count, width, self.window] } else { vec![count, width] };
        ArraySet::new(values, dims).map_err(data_error)
    }

    /// Classes of training and held-out rows, by the words of the training rows.
    fn classes(&self, cx: &BuildCx, parts: &Parts) -> Result<Labels> {
        let Some(label) = &self.label else { return Ok(Labels::default()) };
        let at = parts.train.table.width() - 1;
        let names = parts.train.table.words(at);
        let of = |part: &Part| -> Result<Vec<u32>> {
            let table = &part.table;
            let class = |row: usize| {
                let word = table.word(row, at).unwrap_or_default();
                names.iter().position(|n| n == word).map(|c| c as u32).ok_or_else(|| {
                    let message = format!(
                        "row {} (from 0) has the class `{word}` in column `{label}`, which no training row has",
                        part.row_of_file(row)
                    );
                    Error::data(&part.file, message)
                })
            };
            (0..table.len()).map(class).collect()
        };
        let train = of(&parts.train)?;
        if self.labels && names.len() > MOST_CATEGORIES.max(parts.train.table.len() / 2) {
            let message =
                format!("are {} different words of {} rows: is `{label}` a class?", names.len(), train.len());
            return Err(cx.refuse("labels", message));
        }
        let held = parts.held.as_ref().map(of).transpose()?;
        let classes = if self.labels { names.len() } else { 0 };
        Ok(Labels { train: Some(train), held_out: held, classes, names })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::path::Path;

    use ebm_core::candle::{DType, Device};
    use ebm_core::{Key, Split};

    use super::*;

    const PEOPLE: &str = "age,job,pay,wind,kind
20,cook,1e3,0,yes
30,smith,2e3,90,no
40,cook,3e3,180,yes
50,baker,4e3,270,no
60,smith,9e3,45,yes
";

    fn folder() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("people.csv"), PEOPLE).unwrap();
        std::fs::write(folder.path().join("others.csv"), PEOPLE.replace("baker", "pilot")).unwrap();
        folder
    }

    fn made(folder: &Path, text: &str) -> (Result<Arc<dyn DataSource>>, String) {
        let cx = BuildCx::new(&[], DType::F32, &Device::Cpu, Key::root(0)).with_path("data");
        let mut cx = cx.with_places(folder);
        let config: TableRows = toml::from_str(&format!("path = 'people.csv'\n{text}")).unwrap();
        (config.build(&mut cx), cx.notes().join("\n"))
    }

    fn stored(source: &dyn DataSource, split: Split) -> (Vec<f32>, Vec<usize>, Option<Vec<u32>>) {
        let stored = source.stored(split, 99).unwrap().unwrap();
        (stored.x.flatten_all().unwrap().to_vec1().unwrap(), stored.x.dims().to_vec(), stored.labels)
    }

    #[test]
    fn numbers_are_standardised_by_training_rows_alone() {
        let folder = folder();
        let (source, _) =
            made(folder.path(), "columns = ['age']\nlabel = 'kind'\nlabels = true\nheld_out_every = 4");
        let source = source.unwrap();
        // Rows 0 and 4 are held out: 30, 40, 50 have mean 40 and deviation sqrt(200/3).
        let spread = (200f64 / 3.0).sqrt();
        let (x, dims, labels) = stored(source.as_ref(), Split::Train);
        assert_eq!((dims, labels), (vec![3, 1], Some(vec![0, 1, 0])));
        assert_eq!(x, [-10.0 / spread, 0.0, 10.0 / spread].map(|v| v as f32));
        let (held, _, labels) = stored(source.as_ref(), Split::HeldOut);
        assert_eq!(
            (held, labels),
            ([-20.0 / spread, 20.0 / spread].map(|v| v as f32).to_vec(), Some(vec![1, 1]))
        );
        assert_eq!((source.condition(), source.class_names()), (2, &["no".to_string(), "yes".into()][..]));
        assert_eq!(source.columns().unwrap().rows(&x), [["30"], ["40"], ["50"]]);
    }

    #[test]
    fn words_are_one_hot_and_angles_radians_of_their_period() {
        let folder = folder();
        let (source, notes) = made(
            folder.path(),
            "columns = ['job', 'wind']\ncategories = ['job']\nangles = [{ column = 'wind' }]",
        );
        let (x, dims, _) = stored(source.unwrap().as_ref(), Split::Train);
        assert_eq!((dims, &x[..3]), (vec![5, 4], &[0.0, 1.0, 0.0][..]));
        assert!((x[7] - PI / 2.0).abs() < 1e-6 && (x[15] + PI / 2.0).abs() < 1e-6, "{x:?}");
        assert!(notes.contains("no held-out likelihood") && notes.contains("noise"), "{notes}");
        let (source, notes) = made(folder.path(), "columns = ['wind']\nangles = [{ column = 'wind' }]");
        assert!(source.unwrap().range().is_some() && notes.is_empty(), "{notes}");
    }

    #[test]
    fn windows_are_series_and_the_last_rows_are_held_out() {
        let folder = folder();
        let text = "columns = ['age', 'pay']\nstandardise = false\nwindow = 2\nstep = 1\nheld_out_last = 2";
        let source = made(folder.path(), text).0.unwrap();
        let (x, dims, _) = stored(source.as_ref(), Split::Train);
        assert_eq!((dims, &x[..4]), (vec![2, 2, 2], &[20.0, 30.0, 1e3, 2e3][..]));
        let (x, dims, _) = stored(source.as_ref(), Split::HeldOut);
        assert_eq!((dims, x), (vec![1, 2, 2], vec![50.0, 60.0, 4e3, 9e3]));
    }

    #[test]
    fn no_window_has_rows_of_two_series() {
        let folder = folder();
        let boats = "t,boat,x\n0,a,1\n0,b,10\n1,a,2\n1,b,20\n2,a,3\n2,b,30\n0,c,99\n";
        std::fs::write(folder.path().join("people.csv"), boats).unwrap();
        let text = "columns = ['x']\nseries = 'boat'\nstandardise = false\nwindow = 2\n";
        let (source, notes) = made(folder.path(), &format!("{text}step = 1"));
        let source = source.unwrap();
        let (x, dims, _) = stored(source.as_ref(), Split::Train);
        assert_eq!((dims, x), (vec![4, 1, 2], vec![1.0, 2.0, 2.0, 3.0, 10.0, 20.0, 20.0, 30.0]));
        assert!(
            notes.contains("1 of 3 series") && source.columns().unwrap().series() == Some("boat"),
            "{notes}"
        );
        // Of samples 0 and 1 the first is held out; what is learnt has seen the rows of the other, and of none a part.
        let text = text.replace("standardise = false\n", "held_out_every = 2\n");
        let source = made(folder.path(), &text).0.unwrap();
        let (x, _, _) = stored(source.as_ref(), Split::Train);
        assert_eq!(source.columns().unwrap().rows(&x), [["10"], ["20"]]);
        let (held, _, _) = stored(source.as_ref(), Split::HeldOut);
        assert_eq!(source.columns().unwrap().rows(&held), [["1"], ["2"]]);
        // The last rows of the file are held out whatever series they are of.
        let text = "columns = ['x']\nseries = 'boat'\nwindow = 2\nheld_out_last = 3\nstandardise = false";
        let error = made(folder.path(), text).0.err().unwrap().to_string();
        assert!(error.contains("data.window") && error.contains("3 rows in 3 series"), "{error}");
    }

    #[test]
    fn the_index_of_pandas_is_left_out_unless_it_is_named() {
        let folder = folder();
        std::fs::write(folder.path().join("people.csv"), "Unnamed: 0,x\n0,5\n1,7\n2,9\n").unwrap();
        let (source, notes) = made(folder.path(), "");
        assert_eq!(source.unwrap().sample_shape(), [1]);
        assert!(notes.contains("`Unnamed: 0` is left out"), "{notes}");
        let (source, notes) = made(folder.path(), "columns = ['Unnamed: 0', 'x']");
        assert_eq!((source.unwrap().sample_shape(), notes.as_str()), (&[2][..], ""));
    }

    #[test]
    fn what_cannot_be_meant_is_refused_by_setting_row_and_column() {
        let folder = folder();
        for (text, parts) in [
            ("", &["row 0 (from 0; line 2), column `job`", "\"cook\"", "categories"][..]),
            ("columns = ['wages']", &["data.columns", "`wages`", "age, job, pay, wind, kind"]),
            ("columns = ['age', 'age']", &["data.columns", "`age` twice"]),
            ("columns = ['age']\nlabel = 'age'", &["data.columns", "is the label"]),
            ("columns = ['age']\ncategories = ['job']", &["data.categories", "makes no sample"]),
            ("columns = ['age']\nlabels = true", &["data.labels", "name the column as label"]),
            (
                "columns = ['age']\nheld_out = 'others.csv'\nheld_out_last = 1",
                &["data.held_out_last", "second way"],
            ),
            ("columns = ['age']\nheld_out_every = 1", &["data.held_out_every"]),
            ("columns = ['age']\nheld_out_last = 5", &["data.held_out_last", "5 rows"]),
            (
                "columns = ['age']\nheld_out_last = 4",
                &["data.standardise", "column `age` is constant", "hold 20"],
            ),
            (
                "columns = ['age']\nwindow = 3\nstep = 1\nheld_out_every = 2",
                &["data.held_out_every", "held_out_last"],
            ),
            ("columns = ['age']\nwindow = 9", &["data.window", "5 rows"]),
            ("columns = ['age']\nstep = 2", &["data.step", "one row in 2", "set window"]),
            ("columns = ['age']\nseries = 'job'", &["data.series", "set window"]),
            ("columns = ['age']\nseries = 'age'\nwindow = 2", &["data.columns", "the series"]),
            ("columns = ['age']\nseries = 'boat'\nwindow = 2", &["data.series", "`boat`", "age, job"]),
            ("columns = ['age']\ndelimiter = '::'", &["data.delimiter"]),
            (
                "columns = ['job']\ncategories = ['job']\nheld_out = 'others.csv'",
                &["others.csv", "row 3 (from 0) holds `pilot` in column `job`"],
            ),
        ] {
            let error =
                made(folder.path(), text).0.err().unwrap_or_else(|| panic!("{text} is taken")).to_string();
            parts.iter().for_each(|part| assert!(error.contains(part), "{part} is not in: {error}"));
        }
    }
}
