//! The line of a composition: words, and what they say.

use std::path::PathBuf;

use ebm_core::Given;

/// What a line says.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Expression {
    Run { path: PathBuf, given: Option<Given> },
    All(Vec<Part>),
    Any(Vec<Part>),
}

/// A part of a product or a mixture.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Part {
    /// Factor of its energy; negative for "not".
    pub weight: f64,
    pub temperature: Option<f64>,
    pub of: Expression,
}

/// Words that are no path and no class, unless they stand in quotes.
const KEPT: [&str; 7] = ["and", "or", "not", "given", "at", ")", "*"];

/// Parentheses within each other at most: a line is read by a call for each.
const DEPTH: usize = 64;

impl Expression {
    pub fn parse(text: &str) -> Result<Self, String> {
        let fail = |why: String| why;
        let mut words = Words { words: split(text).map_err(fail)?, at: 0, depth: 0 };
        let all = words.any().map_err(fail)?;
        match words.next() {
            None => Ok(all),
            Some(word) => Err(fail(format!("found `{}`, wanted `and`, `or` or the end", word.text))),
        }
    }
}

#[derive(Debug, Clone, PartialEq)]
struct Word {
    text: String,
    /// Stood in quotes: a path, whatever it looks like.
    quoted: bool,
}

impl Word {
    fn is(&self, text: &str) -> bool {
        !self.quoted && self.text == text
    }
}

/// Words are apart by spaces; parentheses and `*` stand alone; quotes and brackets hold spaces.
fn split(text: &str) -> Result<Vec<Word>, String> {
    let mut words: Vec<Word> = Vec::new();
    let mut word = String::new();
    let mut chars = text.chars();
    let mut push = |text: String, quoted: bool| {
        if quoted || !text.is_empty() {
            words.push(Word { text, quoted });
        }
    };
    while let Some(c) = chars.next() {
        match c {
            '"' => {
                push(std::mem::take(&mut word), false);
                let Some(end) = chars.as_str().find('"') else {
                    return Err("a quote is not closed".into());
                };
                let inside: String = chars.as_str()[..end].into();
                chars = chars.as_str()[end + 1..].chars();
                push(inside, true);
            }
            '[' if word.is_empty() => {
                let Some(end) = chars.as_str().find(']') else {
                    return Err("a bracket is not closed".into());
                };
                push(format!("[{}]", &chars.as_str()[..end]), false);
                chars = chars.as_str()[end + 1..].chars();
            }
            '(' | ')' | '*' => {
                push(std::mem::take(&mut word), false);
                push(c.into(), false);
            }
            c if c.is_whitespace() => push(std::mem::take(&mut word), false),
            c => word.push(c),
        }
    }
    push(word, false);
    Ok(words)
}

struct Words {
    words: Vec<Word>,
    at: usize,
    depth: usize,
}

impl Words {
    fn peek(&self) -> Option<&Word> {
        self.words.get(self.at)
    }

    fn next(&mut self) -> Option<Word> {
        let word = self.peek().cloned();
        self.at += usize::from(word.is_some());
        word
    }

    /// Goes on if the next word is this one.
    fn take(&mut self, text: &str) -> bool {
        let is = self.peek().is_some_and(|w| w.is(text));
        self.at += usize::from(is);
        is
    }

    fn any(&mut self) -> Result<Expression, String> {
        let first = self.all()?;
        if !self.peek().is_some_and(|w| w.is("or")) {
            return Ok(first);
        }
        let mut parts = vec![mixed(first)?];
        while self.take("or") {
            parts.push(mixed(self.all()?)?);
        }
        Ok(Expression::Any(parts))
    }

    fn all(&mut self) -> Result<Expression, String> {
        let mut parts = Vec::new();
        loop {
            let sign = if self.take("not") { -1.0 } else { 1.0 };
            let part = self.part()?;
            parts.push(Part { weight: sign * part.weight, ..part });
            if !self.take("and") {
                break;
            }
        }
        match &parts[..] {
            [only] if only.weight == 1.0 && only.temperature.is_none() => Ok(parts.remove(0).of),
            _ => Ok(Expression::All(parts)),
        }
    }

    fn part(&mut self) -> Result<Part, String> {
        let weighted = self.words.get(self.at + 1).is_some_and(|w| w.is("*"));
        let weight = if weighted {
            let weight = self.number("weight")?;
            self.at += 1;
            weight
        } else {
            1.0
        };
        let of = self.whole()?;
        let temperature = if self.take("at") { Some(self.number("temperature")?) } else { None };
        if let Some(t) = temperature.filter(|t| *t <= 0.0 || !(1.0 / *t as f32).is_finite()) {
            return Err(format!("at {t}: wanted a temperature above 0 whose inverse single precision holds"));
        }
        Ok(Part { weight, temperature, of })
    }

    fn whole(&mut self) -> Result<Expression, String> {
        let found = self.next();
        match found {
            Some(w) if w.is("(") => {
                self.depth += 1;
                if self.depth > DEPTH {
                    return Err(format!("more than {DEPTH} parentheses within each other"));
                }
                let inside = self.any()?;
                self.depth -= 1;
                if self.take(")") { Ok(inside) } else { Err(wanted(self.peek(), "`)`")) }
            }
            Some(w) if w.quoted || !KEPT.contains(&w.text.as_str()) => {
                let given = if self.take("given") { Some(self.condition()?) } else { None };
                Ok(Expression::Run { path: w.text.into(), given })
            }
            other => Err(wanted(other.as_ref(), "a run or `(`")),
        }
    }

    fn condition(&mut self) -> Result<Given, String> {
        let word = self.next();
        let read = word.as_ref().and_then(|w| {
            let list = w.text.strip_prefix('[').and_then(|t| t.strip_suffix(']'));
            match list {
                _ if w.quoted => Some(Given::Name(w.text.clone())),
                None if KEPT.contains(&w.text.as_str()) || w.is("(") => None,
                None => Some(Given::from(w.text.as_str())),
                Some(list) => {
                    let numbers: Option<Vec<f64>> = list.split(',').map(|n| finite(n.trim())).collect();
                    numbers.map(Given::Vector)
                }
            }
        });
        read.ok_or_else(|| wanted(word.as_ref(), "a class such as 3 or circle, or a vector such as [0, 1]"))
    }

    fn number(&mut self, what: &str) -> Result<f64, String> {
        let word = self.next();
        let number = word.as_ref().and_then(|w| finite(&w.text));
        number
            .ok_or_else(|| wanted(word.as_ref(), &format!("a {what}, a number that single precision holds")))
    }
}

/// A number that is one in single precision as well, and 0 only if it says so.
fn finite(text: &str) -> Option<f64> {
    let fits = |n: &f64| (*n as f32).is_finite() && (*n == 0.0 || (*n as f32).abs() >= f32::MIN_POSITIVE);
    text.parse().ok().filter(fits)
}

fn wanted(found: Option<&Word>, what: &str) -> String {
    let found = found.map_or("the end".to_string(), |w| format!("`{}`", w.text));
    format!("found {found}, wanted {what}")
}

/// A part of a mixture; a lone "not" has no density of its own.
fn mixed(of: Expression) -> Result<Part, String> {
    match of {
        Expression::All(parts) if parts.iter().all(|p| p.weight <= 0.0) => Err(
            "`or not`: what is left when something is taken from nothing has no density; wanted `and not`"
                .into(),
        ),
        Expression::All(mut parts) if parts.len() == 1 => Ok(parts.remove(0)),
        of => Ok(Part { weight: 1.0, temperature: None, of }),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn run(path: &str) -> Expression {
        Expression::Run { path: path.into(), given: None }
    }

    fn part(weight: f64, of: Expression) -> Part {
        Part { weight, temperature: None, of }
    }

    #[test]
    fn and_binds_closer_than_or_and_not_subtracts() {
        let read = Expression::parse("a and not 0.3*b or 2 * (c or d) at 0.5").unwrap();
        let inner = Expression::Any(vec![part(1.0, run("c")), part(1.0, run("d"))]);
        let wanted = Expression::Any(vec![
            part(1.0, Expression::All(vec![part(1.0, run("a")), part(-0.3, run("b"))])),
            Part { weight: 2.0, temperature: Some(0.5), of: inner },
        ]);
        assert_eq!(read, wanted);
    }

    #[test]
    fn paths_may_hold_spaces_and_words() {
        for (text, given) in [
            ("[0.5, -1]", Given::Vector(vec![0.5, -1.0])),
            ("3", Given::Class(3)),
            ("circle", Given::Name("circle".into())),
            ("\"3\"", Given::Name("3".into())),
            ("\"ice cream\"", Given::Name("ice cream".into())),
        ] {
            let read = Expression::parse(&format!("\"my runs/and\" given {text}")).unwrap();
            assert_eq!(read, Expression::Run { path: "my runs/and".into(), given: Some(given) });
        }
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (text, word) in [
            ("a and", "the end"),
            ("a b", "found `b`"),
            ("(a or b", "wanted `)`"),
            ("x * a", "a weight"),
            ("a given and b", "a class"),
            ("a given", "a class"),
            ("a at 0", "above 0"),
            ("a or not b", "or not"),
            ("\"a and b", "quote"),
            ("inf * a", "single precision"),
            ("1e39 * a", "single precision"),
            ("1e-400 * a and 1e-50 * a", "single precision"),
            ("a at 1e-300", "single precision"),
            ("a given [1, 0", "bracket"),
            ("", "the end"),
        ] {
            let e = Expression::parse(text).unwrap_err();
            assert!(e.contains(word), "{text}: {e}");
        }
        assert!(Expression::parse(&"(".repeat(100_000)).unwrap_err().contains("64"));
    }
}
