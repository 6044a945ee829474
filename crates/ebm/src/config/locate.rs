//! From a path in the configuration to the line on which it stands.

use std::ops::Range;

use toml_edit::{Document, Item, TableLike, Value};

use super::overrides::Override;
use super::path::{Path, Segment, Side};
use super::problem::Place;

/// A text with the places of its settings.
pub(crate) struct Map<'a> {
    file: &'a str,
    text: &'a str,
    document: Option<Document<&'a str>>,
    overrides: &'a [Override],
}

impl<'a> Map<'a> {
    pub fn new(file: &'a str, text: &'a str, overrides: &'a [Override]) -> Self {
        Map { file, text, document: Document::parse(text).ok(), overrides }
    }

    /// The place of the setting at `path`, or of the nearest table around it.
    pub fn place(&self, path: &Path, side: Side) -> Place {
        if let Some(o) = self.overrides.iter().rev().find(|o| o.path.holds(path)) {
            return Place::Command(o.text.clone());
        }
        let span = self.document.as_ref().and_then(|d| span(d.as_item(), &path.0, side));
        match span {
            Some(span) => self.line(span),
            None => Place::Whole(self.file.to_string()),
        }
    }

    /// The line that holds the bytes `span`.
    pub fn line(&self, span: Range<usize>) -> Place {
        let start = span.start.min(self.text.len());
        let from = self.text[..start].rfind('\n').map_or(0, |i| i + 1);
        let to = self.text[from..].find('\n').map_or(self.text.len(), |i| from + i);
        let end = span.end.clamp(start, to.max(start));
        Place::Line {
            file: self.file.to_string(),
            line: self.text[..from].matches('\n').count() + 1,
            column: self.text[from..start].chars().count(),
            width: self.text.get(start..end).map_or(1, |t| t.chars().count()).max(1),
            text: self.text[from..to].trim_end_matches('\r').to_string(),
        }
    }
}

/// What a path may stand on: a table, a list, or a plain value.
enum Node<'a> {
    Table(&'a dyn TableLike, Option<Range<usize>>),
    Item(&'a Item),
    Value(&'a Value),
}

impl<'a> Node<'a> {
    fn span(&self) -> Option<Range<usize>> {
        match self {
            Node::Table(_, span) => span.clone(),
            Node::Item(item) => item.span(),
            Node::Value(value) => value.span(),
        }
    }

    fn table(&self) -> Option<&'a dyn TableLike> {
        match self {
            Node::Table(table, _) => Some(*table),
            Node::Item(item) => item.as_table_like(),
            Node::Value(value) => value.as_inline_table().map(|t| t as &dyn TableLike),
        }
    }

    fn at(&self, index: usize) -> Option<Node<'a>> {
        let list = match self {
            Node::Item(Item::ArrayOfTables(tables)) => {
                return tables.get(index).map(|t| Node::Table(t, t.span()));
            }
            Node::Item(item) => item.as_array(),
            Node::Value(value) => value.as_array(),
            Node::Table(..) => None,
        };
        list?.get(index).map(Node::Value)
    }
}

fn span(root: &Item, path: &[Segment], side: Side) -> Option<Range<usize>> {
    let mut node = Node::Item(root);
    // The document as a whole is no place.
    let mut best = None;
    for (i, segment) in path.iter().enumerate() {
        let last = i + 1 == path.len();
        let next = match segment {
            Segment::Key(key) => {
                let Some((found, item)) = node.table().and_then(|t| t.get_key_value(key)) else { break };
                let next = Node::Item(item);
                // A header `[a.b]` spans its line; a key of a dotted header has its own span.
                let of_key = found.span();
                best = match (last, side) {
                    (true, Side::Key) => of_key.or_else(|| next.span()),
                    _ => next.span().or(of_key),
                };
                best = best.or(node.span());
                next
            }
            Segment::Index(index) => {
                let Some(next) = node.at(*index) else { break };
                best = next.span().or(best);
                next
            }
        };
        node = next;
    }
    best
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const TEXT: &str = "\
format = 1
[run]
steps = 10 # ten
[sampler]
kind = \"chain\"
transition = { kind = \"langevin\", step_size = -1.0 }
[[observer]]
kind = \"a\"
[[observer]]
kind = \"b\"
list = [ { kind = 1 },
  { kind = \"c\" } ]
";

    fn line(path: &str, side: Side) -> (usize, String) {
        let map = Map::new("f", TEXT, &[]);
        match map.place(&path.parse().unwrap(), side) {
            Place::Line { line, column, width, text, .. } => {
                (line, text.chars().skip(column).take(width).collect())
            }
            other => (0, format!("{other:?}")),
        }
    }

    #[test]
    fn paths_lead_to_their_lines() {
        assert_eq!(line("run.steps", Side::Value), (3, "10".into()));
        assert_eq!(line("run.steps", Side::Key), (3, "steps".into()));
        assert_eq!(line("sampler.transition.step_size", Side::Value), (6, "-1.0".into()));
        assert_eq!(line("observer[1].kind", Side::Value), (10, "\"b\"".into()));
        assert_eq!(line("observer[1].list[1].kind", Side::Value), (12, "\"c\"".into()));
        assert_eq!(line("observer[1]", Side::Value).0, 9);
    }

    #[test]
    fn what_is_missing_is_shown_at_the_table_around_it() {
        assert_eq!(line("run.missing", Side::Value), (2, "[run]".into()));
        assert_eq!(line("energy", Side::Value).0, 0);
    }

    #[test]
    fn what_the_command_line_set_is_shown_as_written() {
        let set = [Override::parse("run.steps=x").unwrap()];
        let map = Map::new("f", TEXT, &set);
        let place = map.place(&"run.steps".parse().unwrap(), Side::Value);
        assert_eq!(place, Place::Command("run.steps=x".into()));
    }
}
