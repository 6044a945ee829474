//! Training and continuing a run, with samples and measures at its end.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use ebm_core::backend::{self, Backend};
use ebm_core::{Collective, Stop, agree};
use ebm_data::folder::FolderOptions;
use ebm_train::ledger;
use ebm_train::run::{self, Options};
use ebm_train::{Outcome, Plan, Purpose, Summary, TrainState};
use serde::Serialize;

use crate::config::overrides::Override;
use crate::config::source::Source;
use crate::error::{Error, Result};
use crate::run::measures::{Measures, measure};
use crate::run::open::{build, build_for, source_of};
use crate::run::run_directory::RunDirectory;
use crate::run::watcher::Watcher;
use crate::whole_file;

/// The picture of samples at the end of a run.
const PICTURE: &str = "samples.png";
/// Their measures.
const MEASURES: &str = "measures.json";

/// How to run.
#[derive(Clone, Debug, Default)]
pub struct TrainOptions {
    /// The run directory; without it `<runs>/<name>-<seed>-<n>`.
    pub out: Option<PathBuf>,
    /// Folder of numbered run directories; `runs` without it.
    pub runs: Option<PathBuf>,
    /// When this is set, the run is saved and returns: see [`Options::stop`].
    pub stop: Stop,
    /// Called when there is something to save from now on: the parts are built and the data read.
    pub begun: Option<fn()>,
    /// In a continuation, the data at another place than where they were: see [`data_setting`](crate::inputs::data_setting).
    pub data: Option<String>,
    /// In a continuation, whether the data may be others than those of its training.
    pub other_data: bool,
    /// No samples and measures at the end.
    pub bare: bool,
    /// Sees what the observers of the configuration see.
    pub watcher: Option<Watcher>,
    /// The ranks that train together, of which this is one; alone without it. All ranks make the same call and read
    /// the same files; the first alone writes, observes and draws samples.
    pub ranks: Option<Arc<dyn Collective>>,
}

impl TrainOptions {
    fn begin(&self) {
        if let Some(begun) = self.begun {
            begun();
        }
    }

    fn ranks(&self) -> Arc<dyn Collective> {
        self.ranks.clone().unwrap_or_else(|| Arc::new(ebm_core::Alone))
    }
}

/// What a run came to.
#[derive(Clone, Debug, Serialize)]
pub struct TrainReport {
    /// The run directory.
    pub directory: PathBuf,
    /// How it ended, with its last numbers.
    pub summary: Summary,
    /// Picture of samples drawn from fresh starts, if the run ended in good order and they can be drawn.
    pub samples: Option<PathBuf>,
    /// Measures of such samples, for images with held-out data.
    pub measures: Option<Measures>,
}

/// Trains the configuration in `source` in a new run directory.
///
/// # Errors
/// If the configuration is wrong, a part cannot be built, the directory exists, or a file cannot be written; on any
/// rank. A run that diverges is no error: see [`Summary::outcome`].
pub fn train(source: &Source, options: &TrainOptions) -> Result<TrainReport> {
    let ranks = options.ranks();
    let free = options.out.as_deref().filter(|_| ranks.rank() == 0).map_or(Ok(()), RunDirectory::check_free);
    agree(ranks.as_ref(), free)?;
    let plan = together(build(source), &ranks, source)?;
    let state = TrainState::new(&plan).map_err(|e| source.place(e));
    let mut state = agree(ranks.as_ref(), state)?;
    let runs = options.runs.clone().unwrap_or_else(|| PathBuf::from("runs"));
    let run = &plan.config().run;
    options.begin();
    let held =
        held(ranks.as_ref(), || RunDirectory::create(options.out.as_deref(), &runs, &run.name, run.seed))?;
    let trained = drive(&plan, &mut state, &held, options);
    if let (Err(_), 0, Some(mine)) = (&trained, state.attempts, &held.mine) {
        // What the first step refuses is refused as a setting is: nothing is left that would be in the way.
        mine.discard();
    }
    trained.map_err(|e| match e {
        // A disk that is full while the run goes on is no matter of its data.
        Error::Core(e) if !matches!(e, ebm_core::Error::Io { .. }) => source.place(e),
        other => other,
    })
}

/// Continues the run in `directory` from its newest whole checkpoint, on any number of ranks, or from its beginning if it was
/// ended before the first one; `changes` are of
/// `run.steps`, devices, observers, policies and of where data lie only.
///
/// # Errors
/// If it is no run directory, has no whole checkpoint, its data are not those of its training, or a change makes it another
/// run; on any rank.
pub fn resume(directory: &Path, changes: &[Override], options: &TrainOptions) -> Result<TrainReport> {
    let ranks = options.ranks();
    let held = held(ranks.as_ref(), || RunDirectory::open(directory))?;
    let source = source_of(directory, changes).and_then(|source| match &options.data {
        Some(what) => source.with_data(what),
        None => Ok(source),
    });
    let source = agree(ranks.as_ref(), source)?;
    let purpose = Purpose::Continue { other_data: options.other_data };
    let unbegun = run::unbegun(directory);
    let built = if unbegun { build(&source) } else { build_for(purpose, &source) };
    let plan = together(built, &ranks, &source)?;
    let mut state = if unbegun {
        tracing::info!("was ended before its first checkpoint, and begins again");
        agree(ranks.as_ref(), TrainState::new(&plan).map_err(|e| source.place(e)))?
    } else {
        let (state, damaged) = run::resume(&plan, directory)?;
        for (path, why) in damaged {
            tracing::warn!("passed over {}: {why}", path.display());
        }
        state
    };
    let enough = match plan.config().run.steps {
        wanted if state.step > wanted => Err(Error::unfit(
            directory.display(),
            format!("has done {} steps, wanted is a run of {wanted}; give at least as many", state.step),
        )),
        _ => Ok(()),
    };
    agree(ranks.as_ref(), enough)?;
    if ranks.size() == 1 && complete(&plan, &state, &held.path)? {
        tracing::info!(
            "all {} steps are done and nothing is left to do; a greater run.steps goes on",
            state.step
        );
        let summary = Summary {
            outcome: state.ended(&plan),
            step: state.step,
            steps_now: 0,
            seconds: 0.0,
            skipped: state.attempts - state.step,
            last: state.last.clone(),
            health: state.health(&plan),
            returns: state.returns().to_vec(),
            checkpoint: None,
            healthy: None,
            detached: Vec::new(),
        };
        return Ok(TrainReport { directory: held.path, summary, samples: None, measures: None });
    }
    tracing::info!("continues at step {}", state.step);
    options.begin();
    drive(&plan, &mut state, &held, options)
}

/// Whether a run has done all its steps, said so, drawn its samples and measured them; a file that was cut counts as none.
fn complete(plan: &Plan, state: &TrainState, path: &Path) -> Result<bool> {
    let json = |name: &str| -> Option<serde_json::Value> {
        serde_json::from_slice(&ebm_core::regular::read(path.join(name)).ok()?).ok()
    };
    let said = json("summary.json")
        .is_some_and(|s| (s["outcome"] == "done" || s["outcome"] == "ill") && s["step"] == state.step);
    if !said || state.step != plan.config().run.steps {
        return Ok(false);
    }
    let pictured = plan.draws() && ebm_draw::picture::can_draw(plan.data().sample_shape());
    if !pictured {
        return Ok(true);
    }
    let drawn = ebm_data::folder::read_picture(path.join(PICTURE), &FolderOptions::default()).is_ok();
    Ok(drawn
        && ledger::has_ends(path)
        && (json(MEASURES).is_some() || crate::run::measures::wanted(plan)? == 0))
}

/// A run directory that the first rank holds, and where it is on all.
struct Held {
    path: PathBuf,
    mine: Option<RunDirectory>,
}

fn held(ranks: &dyn Collective, open: impl FnOnce() -> Result<RunDirectory>) -> Result<Held> {
    let open = || -> Result<RunDirectory> {
        let held = open()?;
        run::tidy(held.path())?;
        Ok(held)
    };
    let mine = agree(ranks, (ranks.rank() == 0).then(open).transpose())?;
    let own = mine.as_ref().map(|held| held.path().to_path_buf()).unwrap_or_default();
    if ranks.size() == 1 {
        return Ok(Held { path: own, mine });
    }
    // Names of directories need not be UTF-8, and only their text goes to the others, who do not write there.
    let all = ranks.gather(own.to_string_lossy().as_bytes())?;
    let first = all.first().map(|bytes| String::from_utf8_lossy(bytes).into_owned()).unwrap_or_default();
    Ok(Held { path: if mine.is_some() { own } else { first.into() }, mine })
}

/// The plan as one rank's, once all ranks have theirs.
fn together(plan: Result<Plan>, ranks: &Arc<dyn Collective>, source: &Source) -> Result<Plan> {
    let plan = agree(ranks.as_ref(), plan)?;
    let between = |ranks, b: &&dyn Backend| b.between(ranks, plan.device());
    let ranks = backend::all().iter().try_fold(ranks.clone(), between)?;
    let plan = plan.with_ranks(ranks.clone()).map_err(|e| source.place(e));
    agree(ranks.as_ref(), plan)
}

fn drive(plan: &Plan, state: &mut TrainState, held: &Held, options: &TrainOptions) -> Result<TrainReport> {
    let path = held.path.as_path();
    let directory = held.mine.as_ref().map(|_| path);
    let observers = directory.map_or(Ok(vec![]), |path| run::observers(plan, path));
    let mut observers = agree(plan.ranks(), observers)?;
    if let Some(watcher) = options.watcher.as_ref().filter(|_| directory.is_some()) {
        observers.push(Box::new(watcher.clone()));
    }
    let run_options = Options { directory, stop: options.stop.clone(), observers, ..Options::default() };
    let summary = run::run(plan, state, run_options)?;
    let mut trained = TrainReport { directory: path.to_path_buf(), summary, samples: None, measures: None };
    let ended = matches!(trained.summary.outcome, Outcome::Done | Outcome::Ill(_) | Outcome::Finished(_));
    if ended && !options.bare && directory.is_some() {
        match finish(plan, state, &options.stop, path, &mut trained) {
            // A continuation finds that the samples are missing.
            Err(Error::Core(ebm_core::Error::Stopped)) => trained.summary.outcome = Outcome::Interrupted,
            ended => ended?,
        }
    }
    Ok(trained)
}

/// Draws samples from fresh starts, writes their picture, and measures them.
fn finish(
    plan: &Plan,
    state: &TrainState,
    stop: &Stop,
    path: &Path,
    trained: &mut TrainReport,
) -> Result<()> {
    if !plan.draws() {
        tracing::info!("nothing says how the energy is sampled (generate.sampler), so no samples are drawn");
        return Ok(());
    }
    let shape = plan.data().sample_shape().to_vec();
    if !ebm_draw::picture::can_draw(&shape) {
        tracing::info!("samples of shape {shape:?} cannot be drawn as a picture");
        return Ok(());
    }
    let plane = shape == [2];
    let shown = plan.config().generate.count * if plane { 16 } else { 1 };
    let measured = crate::run::measures::wanted(plan)?;
    let generator = state.generator(plan)?.stopped_by(stop);
    let (n, key) = (shown.max(measured), plan.key().at("generate"));
    // A sheet shows the classes of the first batch in turn; measures compare with data, which have theirs by frequency.
    let conditions = if measured > 0 { plan.conditions_of(n, key)? } else { plan.conditions()? };
    let drawn = generator.draw(n, conditions.as_ref(), key)?;
    let file = path.join(PICTURE);
    let background = match plane {
        true => plan.data().stored(ebm_core::Split::Train, 4 * shown)?.map(|l| l.x),
        false => None,
    };
    let sheet = drawn.narrow(0, 0, shown.min(drawn.dims()[0])).map_err(ebm_core::Error::from)?;
    ebm_draw::picture::write(&file, &sheet, background.as_ref())?;
    trained.samples = Some(file);
    if measured > 0 {
        let some = drawn.narrow(0, 0, measured).map_err(ebm_core::Error::from)?;
        trained.measures = measure(plan, &some)?;
        if let Some(measures) = &trained.measures {
            whole_file::replace(&path.join(MEASURES), whole_file::json(measures)?.as_bytes())?;
        }
    }
    let measures = trained.measures.is_some().then_some(MEASURES);
    Ok(ledger::note_ends(path, &[Some(PICTURE), measures].into_iter().flatten().collect::<Vec<_>>())?)
}
