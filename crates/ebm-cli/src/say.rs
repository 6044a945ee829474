//! Errors of the library in the words of the command line: flags for settings, what to type, exit codes.

use ebm::core::Error as Core;
use ebm::{Blocked, Error};

/// Exit code of a command line that asks for what does not exist or does not go together.
pub(crate) const USAGE: u8 = 2;

/// The flag of a setting.
fn flag(setting: &str) -> String {
    match setting {
        "count" => "--n".into(),
        "against_count" => "--against-n".into(),
        "inside" => "--in".into(),
        "outside" => "--out".into(),
        "scores" => "--score".into(),
        other => format!("--{}", other.replace('_', "-")),
    }
}

/// What a user reads.
pub(crate) fn message(e: &Error) -> String {
    match e {
        Error::Invalid { setting, found, wanted } => {
            let space = if found.is_empty() { "" } else { " " };
            format!("{}{space}{found}: wanted {wanted}", flag(setting))
        }
        Error::Missing { settings, why } => {
            let flags: Vec<String> = settings.iter().map(|s| flag(s)).collect();
            format!("{}: is missing; {why}", flags.join(" or "))
        }
        Error::Output { setting, path, why: Blocked::Same(other) } => {
            let (one, two) = (flag(setting), flag(other));
            format!("{one} and {two}: name the same file, {}; wanted two", path.display())
        }
        Error::Output { setting, path, why } => {
            let why = match why {
                Blocked::File => "already exists; choose another name, or replace it with --force".into(),
                Blocked::Run => {
                    "already holds a run; continue it with `ebm resume` or choose another place".into()
                }
                other => other.to_string(),
            };
            format!("{} {}: {why}", flag(setting), path.display())
        }
        Error::Core(Core::OtherData { .. }) => {
            format!("{e}; name the data of its training by --data, or go on with these by --other-data")
        }
        Error::Core(Core::Absent { .. }) => {
            format!("{e}; of a run that was moved, say by --data where its data are now")
        }
        Error::NoThreshold { run, .. } => format!("{e}: ebm eval threshold {}", run.display()),
        Error::Shape { images: true, .. } => format!("{e} with --fit, which also converts their colours"),
        Error::Device { .. } => format!("{e}; use `--device cpu` or `--device auto`"),
        Error::Unread { what: "configuration", source, .. } => match source.kind() {
            std::io::ErrorKind::IsADirectory => format!("{e}; a run directory is given to `ebm resume`"),
            _ => e.to_string(),
        },
        _ => e.to_string(),
    }
}

/// The exit code: 2 usage or configuration, 3 data, 4 diverged, 5 device or memory, 1 other.
pub(crate) fn exit_code(e: &Error) -> u8 {
    use ebm::features::FeatureError as Features;
    match e {
        Error::Config(_)
        | Error::Invalid { .. }
        | Error::Missing { .. }
        | Error::Output { .. }
        | Error::Unfit { .. }
        | Error::Unread { .. }
        | Error::Change(_)
        | Error::NoThreshold { .. } => USAGE,
        Error::Shape { .. } | Error::Data(_) => 3,
        Error::Device { .. } => 5,
        Error::Features(
            Features::Description { .. } | Features::Weight { .. } | Features::Data(_) | Features::Io { .. },
        ) => 3,
        Error::Features(Features::Input { .. }) => USAGE,
        Error::Diverged(_) | Error::Ill(_) => 4,
        Error::Core(Core::Config { .. } | Core::Shape { .. } | Core::Capability { .. }) => USAGE,
        Error::Core(Core::Data { .. } | Core::DataFile(_) | Core::Absent { .. } | Core::OtherData { .. }) => {
            3
        }
        Error::Core(Core::Numeric { .. }) => 4,
        Error::Core(Core::Device { .. }) => 5,
        // The drivers have no other word for it than their message.
        Error::Core(Core::Tensor { source, .. }) if source.to_string().contains("out of memory") => 5,
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    use clap::{Command, CommandFactory as _};

    use super::*;

    fn flags(of: &Command, all: &mut Vec<String>) {
        all.extend(of.get_arguments().filter_map(|a| a.get_long()).map(|long| format!("--{long}")));
        of.get_subcommands().for_each(|inner| flags(inner, all));
    }

    #[test]
    fn every_setting_that_the_library_refuses_has_a_flag() {
        let mut all = Vec::new();
        flags(&crate::Arguments::command(), &mut all);
        let settings = "against against_count animation base chains count data features fpr grey held_out \
                        held_out_labels hole inside key labels level mask moves neighbours noise only out outside \
                        power report resamples rungs score scores seed steps strip subset_size temperature thin \
                        timed to";
        for setting in settings.split(' ') {
            assert!(all.contains(&flag(setting)), "{setting}: no command has {}", flag(setting));
        }
    }

    #[test]
    fn settings_become_flags_with_what_to_type() {
        let e = Error::Output { setting: "out", path: "x.npy".into(), why: Blocked::File };
        assert_eq!(
            (message(&e).as_str(), exit_code(&e)),
            ("--out x.npy: already exists; choose another name, or replace it with --force", 2)
        );
        let e = Error::Missing { settings: vec!["mask", "hole"], why: "nothing is left to draw".into() };
        assert_eq!(message(&e), "--mask or --hole: is missing; nothing is left to draw");
        let e = Error::Device { device: "cuda:9".into(), message: "is not there".into() };
        assert_eq!(
            (message(&e).as_str(), exit_code(&e)),
            ("device cuda:9: is not there; use `--device cpu` or `--device auto`", 5)
        );
    }
}
