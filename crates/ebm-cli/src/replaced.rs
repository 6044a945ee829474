//! What `--force` does not replace: a file that the same command reads.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use clap::ArgMatches;

/// Arguments that files are written to; of two values of one argument the last.
const OUTPUTS: [&str; 11] = [
    "out",
    "energies",
    "slope",
    "hvp",
    "draws",
    "strip",
    "animation",
    "neighbours",
    "json",
    "picture",
    "charts",
];

/// What stands around a path where an argument holds more: `npy:path=a.npy`, `a.npz:x`, `runs/a and not 0.3 * runs/b`.
const AROUND: [char; 12] = [':', '=', ',', ' ', '"', '\'', '[', ']', '(', ')', '{', '}'];

/// Refuses a command line whose output is one of its inputs.
///
/// # Errors
/// In words, naming both arguments.
pub(crate) fn apart(arguments: &ArgMatches) -> Result<(), String> {
    let mut of = arguments;
    while let Some((_, inner)) = of.subcommand() {
        of = inner;
    }
    if !of.try_get_one::<bool>("force").ok().flatten().is_some_and(|force| *force) {
        // What is there is refused by every command, whatever it is.
        return Ok(());
    }
    let (mut outputs, mut inputs) = (Vec::new(), Vec::new());
    for id in of.ids().map(clap::Id::as_str) {
        let Ok(Some(values)) = of.try_get_raw(id) else { continue };
        let mut values: Vec<&OsStr> = values.collect();
        if OUTPUTS.contains(&id) {
            outputs.extend(values.pop().map(|v| (id, PathBuf::from(v))));
        }
        inputs.extend(values.into_iter().map(|v| (id, v.to_os_string())));
    }
    for (output, path) in &outputs {
        let Ok(file) = path.canonicalize() else { continue };
        if let Some((input, text)) = inputs.iter().find(|(_, text)| reads(text, &file)) {
            return Err(format!(
                "--{output} {}: is read by this very command ({input} {}), so --force does not replace it; choose another name",
                path.display(),
                Path::new(text).display()
            ));
        }
    }
    Ok(())
}

/// Whether an argument names this file, or a folder or run that it is a part of.
fn reads(text: &OsStr, file: &Path) -> bool {
    let is = |name: &str| Path::new(name).canonicalize().is_ok_and(|input| is_part(file, &input));
    let whole = Path::new(text).canonicalize().is_ok_and(|input| is_part(file, &input));
    whole || text.to_str().is_some_and(|text| text.split(AROUND).filter(|part| !part.is_empty()).any(is))
}

fn is_part(file: &Path, input: &Path) -> bool {
    // A run keeps what was made of it beside its own files.
    let own = |name: &str| file == input.join(name) || file.starts_with(input.join("checkpoints"));
    match input.join("config.toml").is_file() {
        true => own("config.toml"),
        false => file == input || (input.is_dir() && file.parent() == Some(input) && !is_here(input)),
    }
}

/// The working directory is named by many arguments that mean no file in it.
fn is_here(folder: &Path) -> bool {
    Path::new(".").canonicalize().is_ok_and(|here| here == folder)
}
