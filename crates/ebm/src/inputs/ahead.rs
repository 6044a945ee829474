//! Reading the next samples of a set while some are worked on.

use std::panic::resume_unwind;
use std::sync::mpsc::sync_channel;
use std::thread;

use super::fit::Fit;
use super::read::Sink;
use super::set::Inputs;
use crate::error::{Error, Result};

/// Pieces that are read and wait at most.
const AHEAD: usize = 2;

impl Inputs {
    /// As [`each`](Self::each), on a thread that goes on reading while `sink` works: the same pieces in the same order. Memory is that of
    /// four pieces.
    ///
    /// # Errors
    /// As [`each`](Self::each); what was read before an error reaches `sink` first.
    pub(crate) fn each_ahead(
        &self,
        rows: usize,
        most: Option<u64>,
        fit: &Fit,
        sink: &mut Sink<'_>,
    ) -> Result<()> {
        // Remarks go where those of this thread go.
        let log = tracing::dispatcher::get_default(Clone::clone);
        thread::scope(|scope| {
            let (sender, receiver) = sync_channel(AHEAD);
            let reader = thread::Builder::new().name("ebm-reader".into()).spawn_scoped(scope, move || {
                tracing::dispatcher::with_default(&log, || {
                    self.each(rows, most, fit, &mut |piece| {
                        // Without a receiver `sink` has failed, and its error is the one that is told.
                        sender.send(piece).map_err(|_| Error::unfit(&self.name, "is read no further"))
                    })
                })
            });
            let Ok(reader) = reader else { return self.each(rows, most, fit, sink) };
            let done = receiver.iter().try_for_each(&mut *sink);
            drop(receiver);
            let read = reader.join().unwrap_or_else(|panic| resume_unwind(panic));
            done.and(read)
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::set::Piece;
    use super::*;

    fn table(rows: usize, wrong: Option<usize>) -> (tempfile::TempDir, Inputs) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.csv");
        let row = |i| if Some(i) == wrong { "inf,0".to_string() } else { format!("{i},0.5") };
        let text: Vec<String> = std::iter::once("a,b".to_string()).chain((0..rows).map(row)).collect();
        std::fs::write(&path, text.join("\n")).unwrap();
        let set = Inputs::open(path.to_str().unwrap()).unwrap();
        (folder, set)
    }

    #[test]
    fn pieces_are_those_of_reading_without_a_thread_and_errors_come_after_them() {
        let fit = Fit::of_shape(&[2]);
        for wrong in [None, Some(0), Some(15)] {
            let (_folder, set) = table(17, wrong);
            let (mut plain, mut ahead) = (Vec::new(), Vec::new());
            let keep = |piece: Piece, to: &mut Vec<_>| {
                to.push((piece.values, piece.places));
                Ok(())
            };
            let one = set.each(3, None, &fit, &mut |p| keep(p, &mut plain));
            let two = set.each_ahead(3, None, &fit, &mut |p| keep(p, &mut ahead));
            assert_eq!(plain, ahead, "{wrong:?}");
            assert_eq!(one.map_err(|e| e.to_string()), two.map_err(|e| e.to_string()));
        }
    }

    #[test]
    fn a_sink_that_fails_ends_the_reading() {
        let (_folder, set) = table(200, None);
        let mut seen = 0;
        let end = set.each_ahead(1, None, &Fit::of_shape(&[2]), &mut |_| {
            seen += 1;
            if seen == 3 { Err(Error::unfit("here", "is enough")) } else { Ok(()) }
        });
        assert_eq!(seen, 3);
        assert!(end.unwrap_err().to_string().contains("is enough"));
    }
}
