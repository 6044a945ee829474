//! Commands that give a line for each sample: their inputs, and writing while a reader listens.

use ebm::inputs::Inputs;
use ebm::{Error, Result};

use crate::outcome::Failure;
use crate::output::Output;

/// The sets that `names` name; `None` stands for standard input. All are looked up before the first line is written.
pub(crate) fn sets(names: &[String]) -> Result<Vec<Option<Inputs>>> {
    names.iter().map(|what| if what == "-" { Ok(None) } else { Inputs::open(what).map(Some) }).collect()
}

/// Runs `give` with a sink that writes a line for each row and hands it on at once: who writes lines may wait for it.
pub(crate) fn rows<R>(
    out: &mut Output,
    line: impl Fn(&R) -> String,
    give: impl FnOnce(&mut dyn FnMut(&[R]) -> Result<()>) -> Result<()>,
) -> Result<(), Failure> {
    let mut closed = None;
    let mut sink = |rows: &[R]| {
        // The library's sink knows only errors; the reason why this one stopped is kept aside.
        let written = rows.iter().try_for_each(|row| out.line(line(row))).and_then(|()| out.flush());
        written.map_err(|e| {
            closed = Some(e);
            Error::unfit("standard output", "is closed")
        })
    };
    let given = give(&mut sink);
    match (given, closed) {
        (_, Some(failure)) => Err(failure),
        (Err(e), None) => Err(Failure::Error(e)),
        (Ok(()), None) => Ok(()),
    }
}
