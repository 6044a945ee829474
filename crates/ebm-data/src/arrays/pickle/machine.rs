//! The stack machine of pickles, without its power to call: what is called is refused, or kept as a note of the call.

use std::borrow::Cow;
use std::collections::HashMap;

use super::text::unescape;
use super::{Id, Node, numpy};
use crate::error::Origin;
use crate::{DataError, Result};

/// Most values of a pickle: thirty times those of the largest published file, 300 MB of memory here.
const MOST_NODES: usize = 1 << 22;
/// Most opcodes: what is put on the stack again takes eight bytes each time.
const MOST_OPCODES: usize = 1 << 25;

/// What becomes of calls that build no array.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Calls {
    /// The pickle is refused.
    Refused,
    /// They are kept as [`Node::Object`], and what the objects would be stays unknown.
    Kept,
}

/// Runs the opcodes of one pickle.
pub(super) struct Machine<'a, 'o> {
    bytes: &'a [u8],
    at: usize,
    /// Where the opcode at work stands.
    op_at: usize,
    origin: Origin<'o>,
    nodes: Vec<Node<'a>>,
    stack: Vec<Id>,
    /// Height of the stack at each mark.
    marks: Vec<usize>,
    memo: HashMap<u64, Id>,
    calls: Calls,
}

impl<'a, 'o> Machine<'a, 'o> {
    /// All nodes, the outermost, and where the pickle ends.
    pub fn run(bytes: &'a [u8], origin: Origin<'o>, calls: Calls) -> Result<(Vec<Node<'a>>, Id, usize)> {
        let mut machine = Machine {
            bytes,
            at: 0,
            op_at: 0,
            origin,
            nodes: Vec::new(),
            stack: Vec::new(),
            marks: Vec::new(),
            memo: HashMap::new(),
            calls,
        };
        for _ in 0..MOST_OPCODES {
            machine.op_at = machine.at;
            let [op] = machine.fixed()?;
            if op == b'.' {
                let root = machine.pop()?;
                return Ok((machine.nodes, root, machine.at));
            }
            machine.step(op)?;
            if machine.nodes.len() > MOST_NODES {
                break;
            }
        }
        Err(machine
            .wrong("longer than any published set of arrays", "a few million values outside of arrays"))
    }

    fn step(&mut self, op: u8) -> Result<()> {
        match op {
            0x80 => {
                let [version] = self.fixed()?;
                if version > 5 {
                    return Err(self.wrong(format!("protocol {version}"), "protocol 0 to 5"));
                }
            }
            // A frame is a hint of how much to read at a time.
            0x95 => {
                self.fixed::<8>()?;
            }
            b'(' => self.marks.push(self.stack.len()),
            b'0' => match self.marks.last() {
                Some(mark) if *mark == self.stack.len() => {
                    self.marks.pop();
                }
                _ => {
                    self.pop()?;
                }
            },
            b'1' => {
                self.above_mark()?;
            }
            b'2' => {
                let top = self.top()?;
                self.stack.push(top);
            }
            b'N' => self.push(Node::None),
            0x88 => self.push(Node::Bool(true)),
            0x89 => self.push(Node::Bool(false)),
            b'K' => {
                let [n] = self.fixed()?;
                self.push(Node::Int(i64::from(n)));
            }
            b'M' => {
                let n = u16::from_le_bytes(self.fixed()?);
                self.push(Node::Int(i64::from(n)));
            }
            b'J' => {
                let n = i32::from_le_bytes(self.fixed()?);
                self.push(Node::Int(i64::from(n)));
            }
            0x8a => {
                let [n] = self.fixed()?;
                self.long(u64::from(n))?;
            }
            0x8b => {
                let n = u32::from_le_bytes(self.fixed()?);
                self.long(u64::from(n))?;
            }
            b'G' => {
                let value = f64::from_be_bytes(self.fixed()?);
                self.push(Node::Float(value));
            }
            b'I' | b'L' | b'F' => self.number_in_text(op)?,
            b'S' => self.quoted()?,
            b'V' => {
                let line = self.line()?;
                let text = unescape(line, true);
                self.push(Node::Text(Cow::Owned(text.into_iter().collect())));
            }
            b'U' | b'C' => {
                let [n] = self.fixed()?;
                self.raw(u64::from(n))?;
            }
            b'T' | b'B' => {
                let n = u32::from_le_bytes(self.fixed()?);
                self.raw(u64::from(n))?;
            }
            0x8e | 0x96 => {
                let n = u64::from_le_bytes(self.fixed()?);
                self.raw(n)?;
            }
            0x8c => {
                let [n] = self.fixed()?;
                self.text(u64::from(n))?;
            }
            b'X' => {
                let n = u32::from_le_bytes(self.fixed()?);
                self.text(u64::from(n))?;
            }
            0x8d => {
                let n = u64::from_le_bytes(self.fixed()?);
                self.text(n)?;
            }
            _ => return self.collect(op),
        }
        Ok(())
    }

    /// Opcodes of lists, dictionaries, tuples, the memo and calls.
    fn collect(&mut self, op: u8) -> Result<()> {
        match op {
            b']' => self.push(Node::List(Vec::new())),
            b'}' => self.push(Node::Dict(Vec::new())),
            b')' => self.push(Node::Tuple(Vec::new())),
            b'l' => {
                let items = self.above_mark()?;
                self.push(Node::List(items));
            }
            b't' => {
                let items = self.above_mark()?;
                self.push(Node::Tuple(items));
            }
            b'd' => {
                let items = self.above_mark()?;
                let pairs = self.pairs(&items)?;
                self.push(Node::Dict(pairs));
            }
            0x85..=0x87 => {
                let first = self.stack.len().checked_sub(usize::from(op - 0x84));
                let Some(first) = first.filter(|f| self.marks.last().is_none_or(|m| m <= f)) else {
                    return Err(self.empty());
                };
                let items = self.stack.split_off(first);
                self.push(Node::Tuple(items));
            }
            b'a' => {
                let item = self.pop()?;
                self.extend(vec![item])?;
            }
            b'e' => {
                let items = self.above_mark()?;
                self.extend(items)?;
            }
            b's' => {
                let (value, key) = (self.pop()?, self.pop()?);
                self.set(vec![(key, value)])?;
            }
            b'u' => {
                let items = self.above_mark()?;
                let pairs = self.pairs(&items)?;
                self.set(pairs)?;
            }
            b'p' => {
                let index = self.index_in_text()?;
                self.remember(index)?;
            }
            b'q' => {
                let [index] = self.fixed()?;
                self.remember(u64::from(index))?;
            }
            b'r' => {
                let index = u32::from_le_bytes(self.fixed()?);
                self.remember(u64::from(index))?;
            }
            0x94 => self.remember(self.memo.len() as u64)?,
            b'g' => {
                let index = self.index_in_text()?;
                self.recall(index)?;
            }
            b'h' => {
                let [index] = self.fixed()?;
                self.recall(u64::from(index))?;
            }
            b'j' => {
                let index = u32::from_le_bytes(self.fixed()?);
                self.recall(u64::from(index))?;
            }
            b'c' => {
                let (module, name) = (self.line()?, self.line()?);
                let text = |b| String::from_utf8_lossy(b);
                self.push(Node::Global(text(module), text(name)));
            }
            0x93 => {
                let (name, module) = (self.pop()?, self.pop()?);
                let (Node::Text(module), Node::Text(name)) = (&self.nodes[module], &self.nodes[name]) else {
                    return Err(self.wrong("a name that is no text", "a module and a name"));
                };
                let global = Node::Global(module.clone(), name.clone());
                self.push(global);
            }
            b'R' => {
                let (args, callable) = (self.pop()?, self.pop()?);
                match numpy::call(&self.nodes, callable, args) {
                    Some(made) => self.push(made),
                    None => self.object(callable, args)?,
                }
            }
            b'b' => {
                let state = self.pop()?;
                let object = self.top()?;
                match (numpy::build(&self.nodes, object, state), self.calls, &mut self.nodes[object]) {
                    (Some(built), _, _) => self.nodes[object] = built,
                    (None, Calls::Refused, _) => {
                        return Err(self.wrong("an unknown state", "that of a NumPy array"));
                    }
                    (None, Calls::Kept, Node::Object { state: known, .. }) => *known = Some(state),
                    // Attributes of a dictionary, which are none of its entries.
                    (None, Calls::Kept, _) => {}
                }
            }
            0x81 if self.calls == Calls::Kept => {
                let (args, callable) = (self.pop()?, self.pop()?);
                self.object(callable, args)?;
            }
            0x92 if self.calls == Calls::Kept => {
                let (_, args, callable) = (self.pop()?, self.pop()?, self.pop()?);
                self.object(callable, args)?;
            }
            b'Q' if self.calls == Calls::Kept => {
                let id = self.pop()?;
                self.push(Node::Persistent(id));
            }
            // Sets are lists here.
            0x8f if self.calls == Calls::Kept => self.push(Node::List(Vec::new())),
            0x90 if self.calls == Calls::Kept => {
                let items = self.above_mark()?;
                self.extend(items)?;
            }
            0x91 if self.calls == Calls::Kept => {
                let items = self.above_mark()?;
                self.push(Node::List(items));
            }
            // Objects of classes, sets, persistent and out-of-band values: nothing that an array needs.
            0x81 | 0x92 | b'o' | b'i' | 0x82..=0x84 | b'P' | b'Q' | 0x8f..=0x91 | 0x97 | 0x98 => {
                let callable =
                    self.stack.iter().rev().find(|id| matches!(self.nodes[**id], Node::Global(..)));
                return Err(match callable {
                    Some(id) => self.refuse(*id),
                    None => self.refused(format!("an object (opcode {op:#04x})")),
                });
            }
            _ => {
                return Err(self
                    .wrong(format!("opcode {op:#04x}"), "an opcode of a Python pickle; is this the file?"));
            }
        }
        Ok(())
    }

    fn push(&mut self, node: Node<'a>) {
        self.stack.push(self.nodes.len());
        self.nodes.push(node);
    }

    /// A call that builds no array.
    fn object(&mut self, callable: Id, args: Id) -> Result<()> {
        if self.calls == Calls::Refused {
            return Err(self.refuse(callable));
        }
        let dictionary = ["OrderedDict", "defaultdict", "Counter"];
        let object = match &self.nodes[callable] {
            Node::Global(module, name) if module == "collections" && dictionary.contains(&&**name) => {
                Node::Dict(Vec::new())
            }
            _ => Node::Object { callable, args, state: None, entries: Vec::new() },
        };
        self.push(object);
        Ok(())
    }

    fn top(&self) -> Result<Id> {
        let floor = self.marks.last().copied().unwrap_or(0);
        if self.stack.len() <= floor {
            return Err(self.empty());
        }
        self.stack.last().copied().ok_or_else(|| self.empty())
    }

    fn pop(&mut self) -> Result<Id> {
        let top = self.top()?;
        self.stack.pop();
        Ok(top)
    }

    fn above_mark(&mut self) -> Result<Vec<Id>> {
        let mark = self.marks.pop().ok_or_else(|| self.empty())?;
        Ok(self.stack.split_off(mark))
    }

    fn pairs(&self, items: &[Id]) -> Result<Vec<(Id, Id)>> {
        if !items.len().is_multiple_of(2) {
            return Err(self.wrong("a key without a value", "pairs"));
        }
        Ok(items.chunks_exact(2).map(|p| (p[0], p[1])).collect())
    }

    fn extend(&mut self, new: Vec<Id>) -> Result<()> {
        let top = self.top()?;
        match &mut self.nodes[top] {
            Node::List(items) => items.extend(new),
            // A list of a class of its own: nothing that is read.
            Node::Object { .. } => {}
            _ => return Err(self.wrong("something else", "a list to append to")),
        }
        Ok(())
    }

    fn set(&mut self, new: Vec<(Id, Id)>) -> Result<()> {
        let top = self.top()?;
        match &mut self.nodes[top] {
            Node::Dict(entries) | Node::Object { entries, .. } => entries.extend(new),
            _ => return Err(self.wrong("something else", "a dictionary to fill")),
        }
        Ok(())
    }

    fn remember(&mut self, index: u64) -> Result<()> {
        let top = self.top()?;
        self.memo.insert(index, top);
        Ok(())
    }

    fn recall(&mut self, index: u64) -> Result<()> {
        let id = self.memo.get(&index).copied();
        let id = id.ok_or_else(|| {
            self.wrong(format!("entry {index} of the memo, which is empty"), "a known entry")
        })?;
        self.stack.push(id);
        Ok(())
    }

    fn take(&mut self, len: u64) -> Result<&'a [u8]> {
        let rest = &self.bytes[self.at..];
        match usize::try_from(len).ok().and_then(|n| rest.get(..n)) {
            Some(taken) => {
                self.at += taken.len();
                Ok(taken)
            }
            None => {
                let found = format!("{} bytes", rest.len());
                Err(self.origin.format(self.at as u64, "the pickle", found, format!("{len} bytes or more")))
            }
        }
    }

    fn fixed<const N: usize>(&mut self) -> Result<[u8; N]> {
        let mut out = [0; N];
        out.copy_from_slice(self.take(N as u64)?);
        Ok(out)
    }

    fn line(&mut self) -> Result<&'a [u8]> {
        let rest = &self.bytes[self.at..];
        let end = rest.iter().position(|b| *b == b'\n');
        let end = end.ok_or_else(|| self.wrong("no end of a line", "a line"))?;
        self.at += end + 1;
        Ok(&rest[..end])
    }

    fn raw(&mut self, len: u64) -> Result<()> {
        let bytes = self.take(len)?;
        self.push(Node::Bytes(Cow::Borrowed(bytes)));
        Ok(())
    }

    fn text(&mut self, len: u64) -> Result<()> {
        let bytes = self.take(len)?;
        let text = match (std::str::from_utf8(bytes), self.calls) {
            (Ok(text), _) => Cow::Borrowed(text),
            (Err(_), Calls::Kept) => String::from_utf8_lossy(bytes),
            (Err(_), Calls::Refused) => return Err(self.wrong("a text that is not UTF-8", "UTF-8")),
        };
        self.push(Node::Text(text));
        Ok(())
    }

    /// A whole number of `len` bytes, little-endian in two's complement; only what fits 64 bits is data.
    fn long(&mut self, len: u64) -> Result<()> {
        let bytes = self.take(len)?;
        if bytes.len() > 8 && self.calls == Calls::Kept {
            self.push(Node::None);
            return Ok(());
        }
        if bytes.len() > 8 {
            return Err(self.wrong(format!("a number of {len} bytes"), "at most 8"));
        }
        let sign = if bytes.last().is_some_and(|b| b & 0x80 != 0) { 0xff } else { 0 };
        let mut wide = [sign; 8];
        wide[..bytes.len()].copy_from_slice(bytes);
        self.push(Node::Int(i64::from_le_bytes(wide)));
        Ok(())
    }

    fn number_in_text(&mut self, op: u8) -> Result<()> {
        let line = self.line()?;
        let text = std::str::from_utf8(line).unwrap_or_default().trim();
        let node = match (op, text) {
            (b'I', "00") => Some(Node::Bool(false)),
            (b'I', "01") => Some(Node::Bool(true)),
            (b'F', _) => text.parse().ok().map(Node::Float),
            _ => text.trim_end_matches('L').parse().ok().map(Node::Int),
        };
        let node = node.ok_or_else(|| self.wrong("a text that is no number", "a number"))?;
        self.push(node);
        Ok(())
    }

    fn index_in_text(&mut self) -> Result<u64> {
        let line = self.line()?;
        let index = std::str::from_utf8(line).ok().and_then(|t| t.trim().parse().ok());
        index.ok_or_else(|| self.wrong("a text that is no number", "an entry of the memo"))
    }

    /// A byte string as Python 2 writes it in text: quoted, with escapes.
    fn quoted(&mut self) -> Result<()> {
        let line = self.line()?.trim_ascii();
        let inner = match line {
            [b'\'', inner @ .., b'\''] | [b'"', inner @ .., b'"'] => inner,
            _ => return Err(self.wrong("a text without quotes", "a text in quotes")),
        };
        let bytes = unescape(inner, false).into_iter().map(|c| c as u32 as u8).collect();
        self.push(Node::Bytes(Cow::Owned(bytes)));
        Ok(())
    }

    fn wrong(&self, found: impl Into<String>, expected: &str) -> DataError {
        self.origin.format(self.op_at as u64, "the pickle", found, expected)
    }

    fn empty(&self) -> DataError {
        self.wrong("an opcode that takes more than there is", "values before it")
    }

    fn refuse(&self, callable: Id) -> DataError {
        match &self.nodes[callable] {
            Node::Global(module, name) => self.refused(format!("`{module}.{name}` with these arguments")),
            _ => self.refused("a call".into()),
        }
    }

    fn refused(&self, found: String) -> DataError {
        let reason = "pickles are code, which is never run: lists, dictionaries, texts, numbers and NumPy arrays of \
                      plain numbers are read; save others as .npy or .npz";
        self.origin.unsupported(self.op_at as u64, found, reason)
    }
}
