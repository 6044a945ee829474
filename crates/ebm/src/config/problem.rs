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
                let (text, column, width) = around(text, *column, *width);
                // Tabs stay tabs under the line, so that the mark stands where the eye looks.
                let pad: String =
                    text.chars().take(column).map(|c| if c == '\t' { '\t' } else { ' ' }).collect();
                writeln!(f, "{path}{} ({file}:{line})", self.message)?;
                writeln!(f, "  {gutter} | {text}")?;
                write!(f, "  {blank} | {pad}{}", "^".repeat(width))
            }
            Place::Command(text) => write!(f, "{path}{} (from {text})", self.message),
            Place::Whole(file) => write!(f, "{path}{} ({file})", self.message),
        }
    }
}

/// Characters of a line that are shown before a mark, and of what is marked with what follows it.
const BEFORE: usize = 60;
const FROM: usize = 120;

/// A line that is not too long to read: what lies around the mark, with the mark's column and width in it.
fn around(text: &str, column: usize, width: usize) -> (String, usize, usize) {
    let first = column.saturating_sub(BEFORE);
    let mut shown: String = text.chars().skip(first).take(column - first + FROM).collect();
    let (cut, more) = (first > 0, text.chars().nth(column + FROM).is_some());
    if more {
        shown.push('…');
    }
    if cut {
        shown.insert(0, '…');
    }
    (shown, column - first + usize::from(cut), width.min(FROM))
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
        Value::String(s) if s.chars().nth(FROM).is_some() => {
            format!("the text {:?}…", s.chars().take(FROM).collect::<String>())
        }
        Value::String(s) => format!("the text {s:?}"),
        Value::Integer(v) => format!("the whole number {v}"),
        Value::Float(v) => format!("the number {v:?}"),
        Value::Boolean(v) => format!("{v}"),
        Value::Datetime(v) => format!("the date {v}"),
        Value::Array(_) => "a list".into(),
        Value::Table(_) => "a table".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_long_line_what_lies_around_the_mark_is_shown() {
        let shown = |text: &str, column, width| {
            let place = Place::Line { file: "run.toml".into(), line: 3, column, width, text: text.into() };
            Problem { path: "energy.hidden".into(), message: "is wrong".into(), place }.to_string()
        };
        let short = shown("hidden = [0]", 9, 3);
        assert_eq!(short, "energy.hidden: is wrong (run.toml:3)\n  3 | hidden = [0]\n    |          ^^^");
        let long = format!("{}[{}]", "ä".repeat(100_000), "1, ".repeat(1_000_000));
        let text = shown(&long, 100_000, 3_000_002);
        assert!(text.len() < 1000, "{} bytes", text.len());
        let lines: Vec<&str> = text.lines().collect();
        let mark = lines[2].chars().position(|c| c == '^');
        assert_eq!(lines[1].chars().nth(mark.unwrap_or(0)), Some('['), "{text}");
        assert!(lines[1].contains("| …ä") && lines[1].ends_with('…'), "{text}");
        assert_eq!(describe(&Value::String("a".repeat(1_000_000))).chars().count(), FROM + 12);
    }
}
