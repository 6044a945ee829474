//! Faults that authors make, each planted in a small part: the kit says which law is broken, and passes the part without it.
//!
//! `cargo test -p ebm-testkit --test faults -- --nocapture` prints the table of the book.
#![allow(clippy::unwrap_used)]

#[path = "faults/energies.rs"]
mod energies;
#[path = "faults/entropies.rs"]
mod entropies;
#[path = "faults/memories.rs"]
mod memories;
#[path = "faults/objectives.rs"]
mod objectives;
#[path = "faults/samplers.rs"]
mod samplers;
#[path = "faults/sources.rs"]
mod sources;
#[path = "faults/transitions.rs"]
mod transitions;
#[path = "faults/watchers.rs"]
mod watchers;

use ebm_testkit::Verdict;

/// A part with a fault, or with none.
struct Planted {
    family: &'static str,
    fault: &'static str,
    /// What the message has; of a sound part, nothing.
    says: &'static str,
    run: Box<dyn Fn() -> Verdict>,
}

/// `fault` is found by a message that has `says`.
fn planted(
    family: &'static str,
    fault: &'static str,
    says: &'static str,
    run: impl Fn() -> Verdict + 'static,
) -> Planted {
    Planted { family, fault, says, run: Box::new(run) }
}

fn all() -> Vec<Planted> {
    [
        energies::all(),
        transitions::all(),
        samplers::all(),
        entropies::all(),
        objectives::all(),
        memories::all(),
        sources::all(),
        watchers::all(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// Faults that the kit is known not to see, with the reason in the book.
const UNSEEN: [&str; 0] = [];

#[test]
fn sound_parts_pass_and_faults_are_named() {
    let (mut wrong, mut faults) = (Vec::new(), 0);
    println!("| family | fault | what the kit says |\n|---|---|---|");
    for p in all() {
        let found = (p.run)().err().map(|f| f.to_string().lines().next().unwrap_or_default().to_string());
        match (&found, p.says) {
            (None, "") => continue,
            (Some(text), "") => wrong.push(format!("{} `{}` is sound, but: {text}", p.family, p.fault)),
            (None, _) if UNSEEN.contains(&p.fault) => {}
            (None, _) => wrong.push(format!("{} `{}` is not found", p.family, p.fault)),
            (Some(text), says) if !text.contains(says) => {
                wrong.push(format!("{} `{}` is found as `{text}`, which has no `{says}`", p.family, p.fault));
            }
            _ => {}
        }
        if !p.says.is_empty() {
            faults += 1;
            // The law and its numbers; what follows is the usual cause.
            let text =
                found.as_deref().and_then(|f| f.split("; ").next()).unwrap_or_default().replace('|', "\\|");
            println!("| {} | {} | {text} |", p.family, p.fault);
        }
    }
    assert!(wrong.is_empty(), "{} of {faults} faults:\n{}", wrong.len(), wrong.join("\n"));
    // Nineteen in twenty, with the known ones.
    assert!(faults >= 60 && 20 * UNSEEN.len() <= faults, "{faults} faults, {} unseen", UNSEEN.len());
}

/// The chapter of the book has a row for each fault.
#[test]
fn the_book_has_them_all() {
    let book = concat!(env!("CARGO_MANIFEST_DIR"), "/../../book/src/design/faults.md");
    // A crate that was packed alone has no book.
    let Ok(text) = std::fs::read_to_string(book) else { return };
    let missing: Vec<&str> = all()
        .iter()
        .filter(|p| !p.says.is_empty() && !text.contains(&format!("| {} | {} |", p.family, p.fault)))
        .map(|p| p.fault)
        .collect();
    assert!(missing.is_empty(), "{missing:?}");
}
