//! The command line of `ebm` as one call, so that a binary with plugins of its own is three lines:
//!
#![doc = include_str!("../README.md")]

mod args;
mod commands;
mod fault;
mod filter;
mod outcome;
mod output;
mod ranks;
mod replaced;
mod say;
mod signals;

use std::process::ExitCode;

use clap::{CommandFactory as _, FromArgMatches as _, Parser, Subcommand};
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use outcome::{End, Failure, INTERRUPTED, Outcome};
use output::Output;

/// Trains energy-based models of images and points, draws their samples, measures and composes them.
///
/// A configuration names the parts of a run: data, energy, sampler, objective, optimiser. `ebm train` without one trains
/// the built-in quick start on handwritten digits in minutes; `ebm report RUN` shows what came of it.
#[derive(Debug, Parser)]
#[command(name = "ebm", version, arg_required_else_help = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
    /// What to log: error, warn, info, debug, trace, or a filter such as `ebm_train=debug`.
    #[arg(long, global = true, value_name = "FILTER")]
    log: Option<String>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Train a model; without a configuration the built-in quick start on handwritten digits.
    Train(commands::train::Train),
    /// Continue a run from its newest checkpoint.
    Resume(commands::resume::Resume),
    /// Draw samples of a trained model.
    Sample(commands::sample::Sample),
    /// Write the configuration of a composition of trained runs: and, or, not.
    Compose(commands::compose::Compose),
    /// Complete a picture of which a part is given: inpaint, colourise, denoise.
    Restore(commands::restore::Restore),
    /// Print the energies of samples, and whether they are inside; a filter for pipelines.
    Score(commands::score::Score),
    /// Write runs as one self-contained HTML page: curves, pictures, energies, health.
    Report(commands::report::ReportCommand),
    /// Measure a trained model: what it takes for outside.
    Eval(commands::eval::Eval),
    /// Train and use small classifiers: feature networks for measures.
    Classifier(commands::classifier::Classifier),
    /// Run a grid of short trainings and compare them.
    Study(commands::study::StudyCommand),
    /// Validate a configuration and say what it would cost, without training.
    Check(commands::check::Check),
    /// Time a configuration: sampler step, update, training step, memory.
    Bench(commands::bench::Bench),
    /// List and describe the linked plugins.
    Plugins(commands::plugins::Plugins),
    /// List, verify and preview data.
    Data(commands::data::Data),
    /// Compare with files of the published program, quantity by quantity.
    Parity(commands::parity::Parity),
    /// Make a run of a published checkpoint, or a checkpoint of a run.
    Convert(commands::convert::Convert),
    /// Write files to begin with: a crate with a plugin of your own, a configuration with comments.
    New(commands::new::New),
    /// Print what a shell needs to complete the command line.
    Completions(commands::shell::Completions),
    /// Write manual pages.
    Man(commands::shell::Man),
}

/// Runs the command line of this process and returns its exit code.
pub fn main() -> ExitCode {
    let spins = "CANDLE_BARRIER_POOL_SPIN_LIMIT";
    if std::env::var_os(spins).is_none() {
        // candle's own threads spin for about a millisecond after each operation on 65,536 entries or more, on cores that the
        // step needs for what comes next: a quarter of the quick start's time.
        // SAFETY: nothing has started a thread yet.
        unsafe { std::env::set_var(spins, "0") };
    }
    run(std::env::args_os())
}

/// Runs a command line; the first argument is the program's name.
pub fn run(arguments: impl IntoIterator<Item = impl Into<std::ffi::OsString> + Clone>) -> ExitCode {
    let parsed = Arguments::command().try_get_matches_from(arguments);
    let parsed = parsed.and_then(|given| Ok((Arguments::from_arg_matches(&given)?, given)));
    let (arguments, given) = match parsed {
        Ok(both) => both,
        Err(e) => {
            ranks::after_the_first();
            // Help and version are results, all else is for standard error; a closed one is no reason to panic.
            let _ = e.print();
            return ExitCode::from(if e.use_stderr() { 2 } else { 0 });
        }
    };
    log(arguments.log.as_deref());
    fault::quiet();
    let mut out = Output::new();
    let ended = match replaced::apart(&given) {
        Ok(()) => fault::caught(|| dispatch(arguments.command, &mut out)),
        Err(refusal) => Err(Failure::Usage(refusal)),
    };
    match ended {
        Ok(End::Done) | Err(Failure::Closed) => ExitCode::SUCCESS,
        Ok(End::Interrupted) => ExitCode::from(INTERRUPTED),
        Ok(End::With(code)) => ExitCode::from(code),
        Err(failure) => {
            output::say(&format!("error: {failure}"));
            ExitCode::from(failure.exit_code())
        }
    }
}

fn dispatch(command: Command, out: &mut Output) -> Outcome {
    match command {
        Command::Train(c) => c.run(out),
        Command::Resume(c) => c.run(out),
        Command::Sample(c) => c.run(out),
        Command::Compose(c) => c.run(out),
        Command::Restore(c) => c.run(out),
        Command::Score(c) => c.run(out),
        Command::Report(c) => c.run(out),
        Command::Eval(c) => c.run(out),
        Command::Classifier(c) => c.run(out),
        Command::Study(c) => c.run(out),
        Command::Check(c) => c.run(out),
        Command::Bench(c) => c.run(out),
        Command::Plugins(c) => c.run(out),
        Command::Data(c) => c.run(out),
        Command::Parity(c) => c.run(out),
        Command::Convert(c) => c.run(out),
        Command::New(c) => c.run(out),
        Command::Completions(c) => c.run(out),
        Command::Man(c) => c.run(out),
    }
}

/// Logs go to standard error, warnings and what a user should know; `EBM_LOG` or `--log` say otherwise. Of several ranks
/// the first logs; all have the same to say.
fn log(filter: Option<&str>) {
    let filter = if ranks::rank() > 0 { Some("error") } else { filter };
    let wanted = filter.map(str::to_string).or_else(|| std::env::var("EBM_LOG").ok());
    let info = || Targets::new().with_default(LevelFilter::INFO);
    // Levels and `crate=level`; filters of fields would bring regular expressions into the program.
    let filter = match wanted.as_deref().map(str::parse) {
        Some(Ok(filter)) => filter,
        Some(Err(e)) => {
            output::say(&format!("warning: the log filter is not understood ({e}); logging `info`"));
            info()
        }
        None => info(),
    };
    let color =
        std::io::IsTerminal::is_terminal(&std::io::stderr()) && std::env::var_os("NO_COLOR").is_none();
    let log = tracing_subscriber::fmt()
        .with_max_level(LevelFilter::TRACE)
        .with_writer(std::io::stderr)
        .with_ansi(color)
        .with_target(false)
        .without_time()
        // A closed standard error must not become a panic inside of the logger.
        .log_internal_errors(false);
    // A second command in one process (tests, servers) keeps the first's logger.
    let _ = log.finish().with(filter).try_init();
}
