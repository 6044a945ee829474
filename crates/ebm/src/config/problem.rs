//! What is wrong with a configuration, with the line it stands on.

use std::fmt;

use toml::Value;

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Dotted path of the setting; empty for the text as a whole.
    pub path: String,
    /// What was found, what was wanted, what to do.
    pub message: String,
    /// Where it stands.
    pub place: Place,
}

/// Where a setting comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// A line of the text.
    Line {
        /// The file or the name of the text.
        file: String,
        /// From 1.
        line: usize,
        /// First column of the setting in characters, from 0.
        column: usize,
        /// Number of characters, at least 1 and all on this line.
        width: usize,
        /// The line itself.
        text: String,
    },
    /// The command line, as it was written there.
    Command(String),
    /// The text as a whole.
    Whole(String),
}

/// Everything that is wrong with one configuration, in the order of the text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problems(pub Vec<Problem>);

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = if self.path.is_empty() { String::new() } else { format!("{}: ", self.path) };
        match &self.place {
            Place::Line { file, line, column, width, text } => {
                let gutter = line.to_string();
                let blank = " ".repeat(gutter.len());
                // Tabs stay tabs under the line, so that the mark stands where the eye looks.
                let pad: String =
                    text.chars().take(*column).map(|c| if c == '\t' { '\t' } else { ' ' }).collect();
                writeln!(f, "{path}{} ({file}:{line})", self.message)?;
                writeln!(f, "  {gutter} | {text}")?;
                write!(f, "  {blank} | {pad}{}", "^".repeat(*width))
            }
            Place::Command(text) => write!(f, "{path}{} (from {text})", self.message),
            Place::Whole(file) => write!(f, "{path}{} ({file})", self.message),
        }
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, problem) in self.0.iter().enumerate() {
            if i > 0 {
                writeln!(f)?;
            }
            write!(f, "{problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}

/// A value in words.
pub(super) fn describe(value: &Value) -> String {
    match value {
        Value::String(s) => format!("the text {s:?}"),
        Value::Integer(v) => format!("the whole number {v}"),
        Value::Float(v) => format!("the number {v:?}"),
        Value::Boolean(v) => format!("{v}"),
        Value::Datetime(v) => format!("the date {v}"),
        Value::Array(_) => "a list".into(),
        Value::Table(_) => "a table".into(),
    }
}
