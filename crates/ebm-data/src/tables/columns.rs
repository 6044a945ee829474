//! Columns of numbers and of words in memory, and how they are gathered, row by row.

use std::collections::HashMap;
use std::path::Path;

use crate::error::Origin;
use crate::{DataError, Result};

/// Values of a table that are held in memory at most: 2 GiB of numbers.
pub const MOST_VALUES: usize = 1 << 28;

/// More different words than any column of categories has.
const MOST_WORDS: usize = 1 << 16;

/// How the text of a table is read.
#[derive(Clone, Copy, Debug, Default)]
pub struct TableOptions {
    /// What stands between values; without it the one of comma, semicolon and tab that the first line has most of.
    pub delimiter: Option<u8>,
    /// Whether the first line has the names of the columns; without names they are called by their number, from 1. `None`: it
    /// has, and is refused if one of them is a number or a value of its own column of words, as values would be.
    pub header: Option<bool>,
}

/// How the cells of a column are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Take {
    /// As finite numbers; a column of truth values is 0 and 1. Of Parquet, instants are seconds since the beginning of 1970 (UTC),
    /// times of day seconds since midnight, dates days since the beginning of 1970, and decimals have their scale.
    Numbers,
    /// As words, whole numbers and truth values too.
    Words,
}

/// A column in memory.
#[derive(Clone, Debug, PartialEq)]
enum Values {
    Numbers(Vec<f64>),
    /// The number of the word of each row, and the words as they came.
    Words(Vec<u32>, Vec<String>),
}

/// Columns of one length.
///
/// ```
/// use ebm_data::table::{Table, TableOptions, Take};
/// let text = "age,job\n31,cook\n45,smith\n";
/// let wanted = [("job".to_string(), Take::Words), ("age".to_string(), Take::Numbers)];
/// let table = Table::parse(text.as_bytes(), "people.csv", &TableOptions::default(), &wanted)?;
/// assert_eq!((table.len(), table.word(1, 0), table.number(1, 1)), (2, Some("smith"), Some(45.0)));
/// # Ok::<(), ebm_data::DataError>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Table {
    columns: Vec<Values>,
    rows: usize,
}

impl Table {
    /// Number of rows.
    pub fn len(&self) -> usize {
        self.rows
    }

    /// Number of columns that were read.
    pub fn width(&self) -> usize {
        self.columns.len()
    }

    /// Whether there is no row.
    pub fn is_empty(&self) -> bool {
        self.rows == 0
    }

    /// The number in a row of a column of numbers.
    pub fn number(&self, row: usize, column: usize) -> Option<f64> {
        match self.columns.get(column)? {
            Values::Numbers(all) => all.get(row).copied(),
            Values::Words(..) => None,
        }
    }

    /// The word in a row of a column of words.
    pub fn word(&self, row: usize, column: usize) -> Option<&str> {
        match self.columns.get(column)? {
            Values::Words(rows, words) => words.get(*rows.get(row)? as usize).map(String::as_str),
            Values::Numbers(_) => None,
        }
    }

    /// The different words of a column: in the order of their numbers if all are whole numbers, else of the alphabet.
    pub fn words(&self, column: usize) -> Vec<String> {
        let Some(Values::Words(_, words)) = self.columns.get(column) else { return Vec::new() };
        let mut words = words.clone();
        match words.iter().map(|w| w.parse::<i64>()).collect::<std::result::Result<Vec<_>, _>>() {
            Ok(_) => words.sort_by_key(|w| w.parse::<i64>().unwrap_or(0)),
            Err(_) => words.sort(),
        }
        words
    }

    /// The rows by the series that a column of words says each is of, and the number of rows of each: series one behind the other as
    /// they come first, rows of each in their order.
    pub fn series(&self, column: usize) -> (Vec<usize>, Vec<usize>) {
        let Some(Values::Words(codes, words)) = self.columns.get(column) else {
            return (Vec::new(), Vec::new());
        };
        let mut order: Vec<usize> = (0..codes.len()).collect();
        // Words have their numbers as they come; the sort keeps rows in order.
        order.sort_by_key(|row| codes[*row]);
        let mut lengths = vec![0; words.len()];
        codes.iter().for_each(|code| lengths[*code as usize] += 1);
        (order, lengths)
    }

    /// The rows of these numbers, in this order; those beyond the end are left out.
    #[must_use]
    pub fn select(&self, rows: &[usize]) -> Self {
        let rows: Vec<usize> = rows.iter().copied().filter(|r| *r < self.rows).collect();
        let columns = self.columns.iter().map(|c| match c {
            Values::Numbers(all) => Values::Numbers(rows.iter().map(|r| all[*r]).collect()),
            Values::Words(all, words) => {
                // Only words that are still there.
                let mut gathered = Gathered::new(Take::Words);
                let kept = rows.iter().map(|r| gathered.code(&words[all[*r] as usize])).collect();
                Values::Words(kept, gathered.words)
            }
        });
        Table { columns: columns.collect(), rows: rows.len() }
    }
}

/// Refuses two columns of one name.
pub(super) fn unlike(path: &Path, names: Vec<String>) -> Result<Vec<String>> {
    let mut seen = HashMap::new();
    for (at, name) in names.iter().enumerate() {
        if let Some(before) = seen.insert(name.as_str(), at) {
            let item = format!("the name of column {}", at + 1);
            let found = format!("`{name}`, as that of column {}", before + 1);
            return Err(Origin(path).format(0, item, found, "a name of its own; rename one of them"));
        }
    }
    Ok(names)
}

/// The error of columns that are not there.
pub(super) fn no_column(path: &Path, name: &str, names: &[String]) -> DataError {
    let numbers = names.iter().any(|n| n.parse::<f64>().is_ok());
    let hint = if numbers { "; has the file no line of names?" } else { "" };
    let expected = format!("one of {}{hint}", names.join(", "));
    Origin(path).format(0, "the table", format!("without a column `{name}`"), expected)
}

/// What is found and expected where a value is missing.
pub(super) fn missing() -> (String, String) {
    ("missing".into(), "a value in every row; fill it in, or leave the row or the column out".into())
}

/// Where a value stands, in words.
pub(super) fn place(row: usize, line: Option<u64>, column: &str) -> String {
    match line {
        Some(line) => format!("row {row} (from 0; line {line}), column `{column}`"),
        None => format!("row {row} (from 0), column `{column}`"),
    }
}

/// The values of a column as they come.
pub(super) struct Gathered {
    take: Take,
    numbers: Vec<f64>,
    codes: Vec<u32>,
    numbered: HashMap<String, u32>,
    words: Vec<String>,
    /// Whether cells of text were truth values so far.
    truths: Option<bool>,
}

impl Gathered {
    pub fn new(take: Take) -> Self {
        let (numbers, codes, words) = (Vec::new(), Vec::new(), Vec::new());
        Gathered { take, numbers, codes, numbered: HashMap::new(), words, truths: None }
    }

    fn code(&mut self, word: &str) -> u32 {
        if let Some(code) = self.numbered.get(word) {
            return *code;
        }
        let code = self.words.len() as u32;
        self.numbered.insert(word.to_string(), code);
        self.words.push(word.to_string());
        code
    }

    /// Takes a number.
    ///
    /// # Errors
    /// In words what was found and expected, if it is not finite.
    pub fn number(&mut self, v: f64) -> std::result::Result<(), (String, String)> {
        if !v.is_finite() {
            let expected = "a finite number; fill it in, or leave the row out";
            return Err((v.to_string(), expected.into()));
        }
        if *self.truths.get_or_insert(false) {
            let expected = "truth values as in the rows before it; write all of them as 0 and 1, or none";
            return Err((format!("the number {v}"), expected.into()));
        }
        self.numbers.push(v);
        Ok(())
    }

    /// Takes a truth value as 0 or 1.
    ///
    /// # Errors
    /// In words, if there are numbers in the same column.
    pub fn truth(&mut self, v: bool) -> std::result::Result<(), (String, String)> {
        if !*self.truths.get_or_insert(true) {
            let expected = "numbers as in the rows before it; write truth values as 0 and 1";
            return Err((format!("the truth value {v}"), expected.into()));
        }
        self.numbers.push(f64::from(u8::from(v)));
        Ok(())
    }

    /// Takes a word.
    ///
    /// # Errors
    /// If there are too many different ones.
    pub fn word(&mut self, word: &str) -> std::result::Result<(), (String, String)> {
        let code = self.code(word);
        if self.words.len() > MOST_WORDS {
            let expected =
                format!("at most {MOST_WORDS} different words; leave a column of text or of identities out");
            return Err((format!("the {}th different word", self.words.len()), expected));
        }
        self.codes.push(code);
        Ok(())
    }

    /// How cells are taken.
    pub fn take(&self) -> Take {
        self.take
    }
}

/// A table of what was gathered, of `rows` rows.
pub(super) fn table(columns: Vec<Gathered>, rows: usize) -> Table {
    let values = |c: Gathered| match c.take {
        Take::Numbers => Values::Numbers(c.numbers),
        Take::Words => Values::Words(c.codes, c.words),
    };
    Table { columns: columns.into_iter().map(values).collect(), rows }
}

/// Refuses more values than fit.
pub(super) fn fits(path: &Path, rows: usize, columns: usize) -> Result<()> {
    match rows.checked_mul(columns).filter(|n| *n <= MOST_VALUES) {
        Some(_) => Ok(()),
        None => {
            let expected = format!("at most {MOST_VALUES} values; name fewer columns, or split the file");
            Err(Origin(path).format(
                0,
                "the table",
                format!("{rows} or more rows of {columns} columns"),
                expected,
            ))
        }
    }
}
