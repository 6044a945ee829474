//! `sum`: several objectives as one, each with a weight that may change over the run.

use std::sync::Arc;

use ebm_core::{
    Batch, BuildCx, ChainStart, Demands, EnergyFn, Error, Key, Needs, Objective, ObjectiveConfig, ParamSet,
    Result, Schedule, Settings, Shape, StepInput, TermName, What, plugin,
};

/// `Σ weight · schedule(step) · term`: gradients and values add up, and each term keeps its own name in the report.
///
/// A term with a name reports under it (one with several terms of its own as `name.term`) and has random numbers of its
/// own, so a sum may hold two of a kind. Terms whose weight is 0 at a step cost nothing there: where no other needs
/// samples, not even the sampler runs.
pub struct Sum {
    name: String,
    terms: Vec<Term>,
    /// Those of all terms, each under the name of its term.
    params: ParamSet,
}

/// One term of a [`Sum`].
pub struct Term {
    objective: Box<dyn Objective>,
    name: Option<String>,
    weight: f64,
    schedule: Schedule,
    on: u64,
    off: Option<u64>,
}

impl Term {
    /// A term of weight 1 under its own name.
    pub fn of(objective: impl Objective + 'static) -> Self {
        Self::boxed(Box::new(objective))
    }

    /// As [`Term::of`], of an objective in a box.
    pub fn boxed(objective: Box<dyn Objective>) -> Self {
        Term { objective, name: None, weight: 1.0, schedule: Schedule::default(), on: 0, off: None }
    }

    /// The same under `name`.
    #[must_use]
    pub fn named(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// The same with this weight.
    #[must_use]
    pub fn weighted(mut self, weight: f64) -> Self {
        self.weight = weight;
        self
    }

    /// The same with a weight that follows `schedule`.
    #[must_use]
    pub fn scheduled(mut self, schedule: Schedule) -> Self {
        self.schedule = schedule;
        self
    }

    /// The same from step `on` (from 0) until before step `off`, or to the end; its schedule is one of these steps.
    #[must_use]
    pub fn between(mut self, on: u64, off: Option<u64>) -> Self {
        (self.on, self.off) = (on, off);
        self
    }

    fn factor(&self, step: u64, of: u64) -> f64 {
        if step < self.on || self.off.is_some_and(|off| step >= off) {
            return 0.0;
        }
        let length = self.off.unwrap_or(of).saturating_sub(self.on);
        self.weight * self.schedule.factor(step - self.on, length)
    }

    /// The name that one of the objective's terms has in the sum.
    fn rename(&self, term: &str) -> Result<TermName> {
        let own = self.objective.terms();
        if !own.iter().any(|t| t == term) {
            let message = format!("has no term `{term}`, but demands for it; it names {}", own.join(", "));
            return Err(Error::config(format!("objective `{}`", self.objective.name()), message));
        }
        Ok(match &self.name {
            None => term.to_string().into(),
            Some(name) if own.len() == 1 => name.clone().into(),
            Some(name) => format!("{name}.{term}").into(),
        })
    }

    /// Before the names of the objective's own parameters.
    fn prefix(&self) -> String {
        self.name.clone().unwrap_or_else(|| self.objective.name())
    }

    fn key(&self, key: Key) -> Key {
        self.name.as_ref().map_or(key, |name| key.at(name.as_str()))
    }
}

impl Sum {
    /// The sum of these terms.
    ///
    /// # Errors
    /// If there is none, two have one name in reports, or two name the energy of the chains.
    pub fn new(terms: Vec<Term>) -> Result<Self> {
        Self::called("sum", terms)
    }

    /// As [`Sum::new`], under another name in messages.
    pub(crate) fn called(name: &str, terms: Vec<Term>) -> Result<Self> {
        let mut seen: Vec<TermName> = Vec::new();
        for (i, term) in terms.iter().enumerate() {
            for label in term.objective.terms() {
                let label = term.rename(&label)?;
                if seen.contains(&label) {
                    let message =
                        format!("two terms would be reported as `{label}`; give one of them another name");
                    return Err(Error::config(format!("terms[{i}].name"), message));
                }
                seen.push(label);
            }
        }
        if terms.is_empty() {
            return Err(Error::config("terms", "is empty, wanted at least one term"));
        }
        let mut own = (0..terms.len()).filter(|i| terms[*i].objective.needs().own_chains);
        if let (Some(first), Some(second)) = (own.next(), own.next()) {
            let message = format!(
                "names the energy of the chains, as terms[{first}] does; a step has only one set of them"
            );
            return Err(Error::config(format!("terms[{second}]"), message));
        }
        let sets: Vec<_> = terms.iter().map(|t| (t.prefix(), t.objective.params())).collect();
        let params = ParamSet::merge(sets.iter().map(|(prefix, set)| (prefix.as_str(), set)))?;
        Ok(Sum { name: name.into(), terms, params })
    }

    fn joined<'a>(needs: impl Iterator<Item = Needs> + 'a) -> Needs {
        needs.fold(Needs::none(), Needs::join)
    }
}

impl Objective for Sum {
    fn needs(&self) -> Needs {
        Self::joined(self.terms.iter().map(|t| t.objective.needs()))
    }

    fn needs_at(&self, step: u64, of: u64) -> Needs {
        let on = self.terms.iter().filter(|t| t.factor(step, of) != 0.0);
        Self::joined(on.map(|t| t.objective.needs_at(step, of)))
    }

    fn scheduled(&self) -> bool {
        let follows = |t: &Term| t.schedule.shape != Shape::Constant && t.off.is_none();
        self.terms.iter().any(|t| follows(t) || t.objective.scheduled())
    }

    fn terms(&self) -> Vec<TermName> {
        let renamed = |t: &Term| t.objective.terms().iter().map(|l| t.rename(l)).collect::<Vec<_>>();
        self.terms.iter().flat_map(renamed).flatten().collect()
    }

    fn params(&self) -> ParamSet {
        self.params.clone()
    }

    fn portions(&self) -> bool {
        self.terms.iter().all(|t| t.objective.portions())
    }

    fn chains(&self, e: &Arc<dyn EnergyFn>, data: &Batch, key: Key) -> Result<Option<ChainStart>> {
        match self.terms.iter().find(|t| t.objective.needs().own_chains) {
            Some(term) => term.objective.chains(e, data, term.key(key)),
            None => Ok(None),
        }
    }

    fn demands(&self, e: &dyn EnergyFn, input: &StepInput<'_>, key: Key) -> Result<Demands> {
        let mut all = Demands::default();
        for term in &self.terms {
            let factor = term.factor(input.step, input.of);
            if factor == 0.0 {
                for label in term.objective.terms() {
                    all.value(term.rename(&label)?, 0.0);
                }
                continue;
            }
            let demands = term.objective.demands(e, input, term.key(key))?;
            let mut demands = demands.scaled(factor)?.renamed(|label| term.rename(label))?;
            for demand in &mut demands.list {
                if let What::Own { name, .. } = &mut demand.what {
                    *name = format!("{}.{name}", term.prefix()).into();
                }
            }
            all.extend(demands);
        }
        Ok(all)
    }

    fn name(&self) -> String {
        self.name.clone()
    }
}

/// Several objectives as one, with weights that may change over the run: see [`Sum`].
#[derive(Debug, Settings)]
pub struct SumSettings {
    /// The terms.
    pub terms: Vec<TermSettings>,
}

/// Settings of one term of a sum.
#[derive(Debug, Settings)]
pub struct TermSettings {
    /// Name in reports; absent: that of the objective's own terms.
    pub name: Option<String>,
    /// Factor of the objective.
    #[setting(default = 1.0)]
    pub weight: f64,
    /// First step at which the term acts, from 0.
    #[setting(default = 0)]
    pub on: u64,
    /// Step from which it no longer does; absent: it acts to the end.
    pub off: Option<u64>,
    /// The weight over these steps; absent: constant.
    pub schedule: Option<Schedule>,
    /// The objective.
    pub objective: Box<dyn ObjectiveConfig>,
}

#[plugin(
    "sum",
    source = "this project",
    example = r#"terms = [
  { objective = { kind = "contrast" } },
  { objective = { kind = "kl" }, weight = 0.5, on = 100, schedule = { shape = "constant", warmup = 500 } },
]"#
)]
impl ObjectiveConfig for SumSettings {
    fn make(&self, cx: &mut BuildCx) -> Result<Box<dyn Objective>> {
        let mut terms = Vec::new();
        for (i, t) in self.terms.iter().enumerate() {
            let objective = t.objective.build_at(&format!("terms[{i}].objective"), cx)?;
            let schedule = t.schedule.clone().unwrap_or_default();
            let term = Term::boxed(objective).weighted(t.weight).scheduled(schedule).between(t.on, t.off);
            terms.push(Term { name: t.name.clone(), ..term });
        }
        Ok(Box::new(Sum::new(terms).map_err(|e| e.within(cx.path()))?))
    }
}
