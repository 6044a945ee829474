//! One line that holds every kind of a crate to the laws of its family.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use ebm_core::candle::{DType, Device};
use ebm_core::catalogue::{Component, Family, components};
use ebm_core::{
    BuildCx, DataConfig, DataSource, EnergyConfig, EntropyConfig, Key, ObjectiveConfig, ObserverConfig,
    OptimiserConfig, PolicyConfig, ReplayConfig, Result, RunPaths, SamplerConfig, TransitionConfig,
};
use toml::{Table, Value};

use crate::planted::spied;
use crate::{Failure, Verdict, check_component, component, laws};

/// Writes the test of a plugin crate: every example of every kind that it registers is built in f64 and held to the laws of its family
/// ([`laws`]) and of its settings ([`check_component`](crate::check_component)).
///
/// `conformance!(my_crate);` links the crate and is the whole test file. With the name of the package as a text
/// (`conformance!("my-crate");`) the file links it itself, by `use my_crate as _;`. After it may stand
///
/// - `shapes = [[3], [1, 8, 8]]`: shapes of samples, tried in this order before those that the kit knows;
/// - `folder = "tests/data"`: where the files lie that examples name;
/// - `except = ["kind"]`: kinds whose examples cannot be built here; their settings are checked all the same.
#[macro_export]
macro_rules! conformance {
    ($origin:literal $(, shapes = [$([$($side:expr),*]),* $(,)?])? $(, folder = $folder:expr)? $(, except = [$($kind:literal),*])? $(,)?) => {
        #[test]
        fn conformance() {
            let kit = $crate::Conformance::of($origin)$(.shapes(&[$(&[$($side),*]),*]))?$(.folder($folder))?$($(.except($kind))*)?;
            if let Err(broken) = kit.check() {
                panic!("{broken}");
            }
        }
    };
    ($own:ident $(, shapes = [$([$($side:expr),*]),* $(,)?])? $(, folder = $folder:expr)? $(, except = [$($kind:literal),*])? $(,)?) => {
        use $own as _;
        #[test]
        fn conformance() {
            let kit = $crate::Conformance::of(stringify!($own))$(.shapes(&[$(&[$($side),*]),*]))?$(.folder($folder))?$($(.except($kind))*)?;
            if let Err(broken) = kit.check() {
                panic!("{broken}");
            }
        }
    };
}

/// Shapes of samples that are tried where a crate names none.
const SHAPES: [&[usize]; 15] = [
    &[2],
    &[3],
    &[10],
    &[4],
    &[1],
    &[16],
    &[6, 2],
    &[8, 3],
    &[1, 8, 8],
    &[3, 8, 8],
    &[3, 16, 16],
    &[1, 28, 28],
    &[3, 32, 32],
    &[3, 64, 64],
    &[3, 128, 128],
];

/// The laws of the kinds of one crate.
pub struct Conformance {
    origin: String,
    shapes: Vec<Vec<usize>>,
    folder: PathBuf,
    except: Vec<String>,
}

/// Samples that a part is built for.
#[derive(Clone)]
struct Place {
    shape: Vec<usize>,
    condition: usize,
}

impl Conformance {
    /// All kinds that come from the package `origin`; `_` in it is read as `-`.
    pub fn of(origin: &str) -> Self {
        let folder = PathBuf::from(".");
        Conformance { origin: origin.replace('_', "-"), shapes: Vec::new(), folder, except: Vec::new() }
    }

    /// The same with these shapes of samples before those that the kit knows.
    #[must_use]
    pub fn shapes(mut self, shapes: &[&[usize]]) -> Self {
        self.shapes = shapes.iter().map(|s| s.to_vec()).collect();
        self
    }

    /// The same with files that examples name in `folder`.
    #[must_use]
    pub fn folder(mut self, folder: impl AsRef<Path>) -> Self {
        self.folder = folder.as_ref().to_path_buf();
        self
    }

    /// The same, with nothing but the settings checked of `kind`.
    #[must_use]
    pub fn except(mut self, kind: &str) -> Self {
        self.except.push(kind.into());
        self
    }

    /// Checks them all.
    ///
    /// # Errors
    /// Tells of every kind that breaks a law: family, kind, law, place, both numbers, usual cause; a line each.
    pub fn check(&self) -> Verdict {
        ebm_core::catalogue::check()?;
        let mine: Vec<_> =
            components().into_iter().filter(|c| c.origin.replace('_', "-") == self.origin).collect();
        Failure::unless(!mine.is_empty(), || {
            format!(
                "no component of `{}` is linked; write `use {} as _;`",
                self.origin,
                self.origin.replace('-', "_")
            )
        })?;
        let mut broken = Vec::new();
        for c in mine {
            let began = std::time::Instant::now();
            let named = |e: Failure| format!("{} `{}`: {e}", c.family.name(), c.kind);
            broken.extend(check_component(c).err().map(|e| e.to_string()));
            if !self.except.iter().any(|k| k == c.kind) {
                broken.extend(self.laws(c).err().map(named));
            }
            // Seen with `--nocapture`.
            println!("{} {}: {:.2} s", c.family.name(), c.kind, began.elapsed().as_secs_f64());
        }
        Failure::unless(broken.is_empty(), || {
            format!("{} laws are broken:\n{}", broken.len(), broken.join("\n"))
        })
    }

    /// The laws of the family for the example of `c`.
    fn laws(&self, c: &Component) -> Verdict {
        let table = component::example(c)?;
        match c.family {
            Family::Energy => self.energy(c, &table),
            Family::Transition => {
                let config: Box<dyn TransitionConfig> = read(&table)?;
                let (t, place) = self.built(|cx| config.build(cx))?;
                laws::transition(t.as_ref(), &place.shape)
            }
            Family::Sampler => {
                let config: Box<dyn SamplerConfig> = read(&table)?;
                let (s, place) = self.built(|cx| config.build(cx))?;
                laws::sampler(s.as_ref(), &place.shape)?;
                spied(c, &table, &place.shape, &|| self.context(&place))
            }
            Family::Entropy => {
                let config: Box<dyn EntropyConfig> = read(&table)?;
                let (estimator, place) = self.built(|cx| config.build(cx))?;
                laws::entropy(estimator.as_ref(), &place.shape)
            }
            Family::Objective => {
                let config: Box<dyn ObjectiveConfig> = read(&table)?;
                let (objective, place) = self.built(|cx| config.build(cx))?;
                laws::objective(objective.as_ref(), &place.shape)
            }
            Family::Replay => {
                self.replay(&table)?;
                // A buffer of thousands is never full in a test.
                let small = c.params.iter().find(|p| p.name == "capacity" && p.allows(10.0));
                small.map_or(Ok(()), |p| {
                    let mut table = table.clone();
                    table.insert(p.name.into(), Value::Integer(10));
                    self.replay(&table)
                })
            }
            Family::Data => {
                let config: Box<dyn DataConfig> = read(&table)?;
                let (source, _) = self.built(|cx| config.build(cx)).map_err(|e| {
                    let hint = "where the example names files, give the folder that has them: `conformance!(..., folder = ...)`";
                    Failure::new(format!("{e}\n{hint}"))
                })?;
                let source: Arc<dyn DataSource> = source;
                laws::source(source.as_ref())
            }
            Family::Optimiser => {
                let config: Box<dyn OptimiserConfig> = read(&table)?;
                laws::optimiser(&|| config.build(&mut self.context(&Place { shape: vec![2], condition: 0 })))
            }
            Family::Policy => {
                let config: Box<dyn PolicyConfig> = read(&table)?;
                laws::policy(&|| config.build(&mut self.context(&Place { shape: vec![2], condition: 0 })))
            }
            Family::Observer => {
                let mut table = table;
                // What happens at every so manyth step happens at each of a short run.
                for p in c.params.iter().filter(|p| p.name == "every" && p.allows(1.0)) {
                    table.insert(p.name.into(), Value::Integer(1));
                }
                let config: Box<dyn ObserverConfig> = read(&table)?;
                let shapes = self.candidates();
                let image = shapes.iter().find(|s| s.len() == 3).cloned().unwrap_or_else(|| vec![1, 8, 8]);
                for shape in [shapes.first().cloned().unwrap_or_else(|| vec![2]), image] {
                    laws::observer(&|paths: &RunPaths| config.build(paths), &shape)?;
                }
                Ok(())
            }
        }
    }

    /// As its example has it, and under a condition if it has a setting for that.
    fn energy(&self, c: &Component, table: &Table) -> Verdict {
        let at = |table: &Table, place: Option<&Place>| -> Verdict {
            let config: Box<dyn EnergyConfig> = read(table)?;
            let (e, place) = match place {
                Some(place) => (config.build(&mut self.context(place))?, place.clone()),
                None => self.built(|cx| config.build(cx))?,
            };
            let mut single = BuildCx::new(&place.shape, DType::F32, &Device::Cpu, Key::root(1))
                .with_condition(place.condition)
                .with_places(&self.folder);
            let single = config.build(&mut single)?;
            laws::energy(e.as_ref(), Some(single.as_ref()))
        };
        at(table, None)?;
        let conditional = c.params.iter().any(|p| p.name == "conditional");
        if !conditional || table.contains_key("conditional") {
            return Ok(());
        }
        let mut table = table.clone();
        table.insert("conditional".into(), Value::Boolean(true));
        let config: Box<dyn EnergyConfig> = read(&table)?;
        let fits = |shape: &Vec<usize>| {
            let place = Place { shape: shape.clone(), condition: 3 };
            config.build(&mut self.context(&place)).is_ok().then_some(place)
        };
        // Not every shape that fits takes labels.
        self.candidates().iter().find_map(fits).map_or(Ok(()), |place| {
            at(&table, Some(&place)).map_err(|f| Failure::new(format!("with `conditional = true`: {f}")))
        })
    }

    fn replay(&self, table: &Table) -> Verdict {
        let config: Box<dyn ReplayConfig> = read(table)?;
        let (_, place) = self.built(|cx| config.build(cx))?;
        // Buffers keep f32, as runs do.
        let build = || config.build(&mut BuildCx::new(&place.shape, DType::F32, &Device::Cpu, Key::root(1)));
        laws::replay(&build, &place.shape)
    }

    fn candidates(&self) -> Vec<Vec<usize>> {
        self.shapes.iter().cloned().chain(SHAPES.iter().map(|s| s.to_vec())).collect()
    }

    fn context(&self, place: &Place) -> BuildCx {
        BuildCx::new(&place.shape, DType::F64, &Device::Cpu, Key::root(1))
            .with_condition(place.condition)
            .with_places(&self.folder)
    }

    /// What `build` gives for the first samples that fit: shapes of the crate and of the kit, and one that an error asks for.
    fn built<T>(&self, build: impl Fn(&mut BuildCx) -> Result<T>) -> Verdict<(T, Place)> {
        let mut reasons = Vec::new();
        let mut shapes: std::collections::VecDeque<Vec<usize>> = self.candidates().into();
        let mut asked = false;
        while let Some(shape) = shapes.pop_front() {
            for condition in [0, 3, 1] {
                let place = Place { shape: shape.clone(), condition };
                match build(&mut self.context(&place)) {
                    Ok(t) => return Ok((t, place)),
                    Err(e) => {
                        if let ebm_core::Error::Shape { expected, .. } = &e {
                            let wanted = sides(expected).filter(|s| !asked && *s != shape);
                            asked |= wanted.is_some();
                            wanted.into_iter().for_each(|s| shapes.push_front(s));
                        }
                        reasons.push(format!("{shape:?} with condition {condition}: {e}"));
                    }
                }
            }
        }
        reasons.truncate(6);
        Err(Failure::new(format!(
            "the example builds for no samples that were tried; name a shape: `conformance!(..., shapes = [[7]])`\n{}",
            reasons.join("\n")
        )))
    }
}

/// The shape of a sample in words such as `(B, 3, 8)`.
fn sides(expected: &str) -> Option<Vec<usize>> {
    let inner = expected.split_once('(')?.1.split_once(')')?.0;
    let all: Vec<&str> = inner.split(',').map(str::trim).filter(|s| !s.is_empty()).collect();
    let rest = if all.first()?.parse::<usize>().is_err() { &all[1..] } else { &all[..] };
    let sides: Vec<usize> = rest.iter().map(|s| s.parse().ok()).collect::<Option<_>>()?;
    (!sides.is_empty() && sides.iter().product::<usize>() < 100_000).then_some(sides)
}

fn read<T: serde::de::DeserializeOwned>(table: &Table) -> Verdict<T> {
    Value::Table(table.clone())
        .try_into()
        .map_err(|e| Failure::new(format!("the example does not parse: {e}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes_are_read_off_a_message() {
        assert_eq!(sides("(B, 3, 8)"), Some(vec![3, 8]));
        assert_eq!(sides("(7)"), Some(vec![7]));
        assert_eq!(sides("(B, C, H, W)"), None);
        assert_eq!(sides("a vector"), None);
    }
}
