//! What a component is built with: shapes, device, keys, names, parameters, the way to its setting.

use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use candle_core::{DType, Device, Tensor};

use crate::devices::machine;
use crate::energy::autograd::{Autograd, Forward};
use crate::kinds::config::joined;
use crate::plan::Products;
use crate::{
    Accelerated, DataSource, Domain, EnergyConfig, EnergyFn, EnergySpec, Engine, Error, Init, Key, ParamSet,
    Places, Result, Role,
};

/// Most entries of one parameter tensor: 4 GiB in f32, beyond any network that one device trains.
const MOST_ENTRIES: usize = 1 << 30;

/// Everything a component's builder may need: shapes, device, keys, names already used.
pub struct BuildCx {
    sample_shape: Vec<usize>,
    condition: usize,
    range: Option<(f64, f64)>,
    domain: Option<Domain>,
    mean: Option<Tensor>,
    dtype: DType,
    device: Device,
    key: Key,
    products: Products,
    places: Places,
    /// Paths that no place had.
    missing: RefCell<Vec<PathBuf>>,
    /// The data of a run, where they are open.
    data: Option<Arc<dyn DataSource>>,
    engine: Option<Arc<dyn Engine>>,
    /// Whether an energy around this one will be offered to the engine as a whole: parts stay plain.
    inside: bool,
    /// Number of parts that were built so far.
    parts: usize,
    /// How many buffers share the chains of the run.
    shards: usize,
    path: String,
    made: Vec<(String, Tensor, Role)>,
    notes: Vec<String>,
}

impl BuildCx {
    /// A context for samples of `sample_shape`; initial values come from `key`.
    pub fn new(sample_shape: &[usize], dtype: DType, device: &Device, key: Key) -> Self {
        BuildCx {
            sample_shape: sample_shape.to_vec(),
            condition: 0,
            range: None,
            domain: None,
            mean: None,
            dtype,
            device: device.clone(),
            key,
            products: Products::Full,
            places: Places::new("."),
            missing: RefCell::default(),
            data: None,
            engine: None,
            inside: false,
            parts: 0,
            shards: 1,
            path: "energy".into(),
            made: Vec::new(),
            notes: Vec::new(),
        }
    }

    /// The same with condition vectors of length `condition`.
    #[must_use]
    pub fn with_condition(mut self, condition: usize) -> Self {
        self.condition = condition;
        self
    }

    /// The same with products of networks rounded so.
    #[must_use]
    pub fn with_products(mut self, products: Products) -> Self {
        self.products = products;
        self
    }

    /// How products of networks are rounded.
    pub fn products(&self) -> Products {
        self.products
    }

    /// The same with bounded sample values.
    #[must_use]
    pub fn with_range(mut self, range: Option<(f64, f64)>) -> Self {
        self.range = range;
        self
    }

    /// The same for samples of this domain, of which `mean` `(...)` is the mean of the data, if it is known.
    #[must_use]
    pub fn with_domain(mut self, domain: Domain, mean: Option<Tensor>) -> Self {
        (self.domain, self.mean) = (Some(domain), mean);
        self
    }

    /// Which values samples take: what was said, else what their range says.
    pub fn domain(&self) -> Domain {
        self.domain.unwrap_or_else(|| Domain::of_range(self.range))
    }

    /// Mean of the data, of the shape of a sample, where they are discrete and it is known: a checkpoint keeps it.
    pub fn mean(&self) -> Option<&Tensor> {
        self.mean.as_ref()
    }

    /// The same, with relative paths looked for in these places: the folder of the configuration file, or several.
    #[must_use]
    pub fn with_places(mut self, places: impl Into<Places>) -> Self {
        self.places = places.into();
        self
    }

    /// The same for one of `shards` buffers that share the chains of a run.
    #[must_use]
    pub fn with_shards(mut self, shards: usize) -> Self {
        self.shards = shards.max(1);
        self
    }

    /// How many buffers share the chains of the run: each holds that part of the configured capacity.
    pub fn shards(&self) -> usize {
        self.shards
    }

    /// The same for a run on these data.
    #[must_use]
    pub fn with_data(mut self, data: Arc<dyn DataSource>) -> Self {
        self.data = Some(data);
        self
    }

    /// The data of the run, where they are open: what an objective, or the initial value of a buffer of an energy, may depend
    /// on. A model is built without them, and takes its buffers from its checkpoint.
    pub fn data(&self) -> Option<&Arc<dyn DataSource>> {
        self.data.as_ref()
    }

    /// The same with a fused engine for every energy that is built.
    #[must_use]
    pub fn with_engine(mut self, engine: Option<Arc<dyn Engine>>) -> Self {
        self.engine = engine;
        self
    }

    /// The same with the dotted path of the component that is built first, for messages.
    #[must_use]
    pub fn with_path(mut self, path: impl Into<String>) -> Self {
        self.path = path.into();
        self
    }

    /// Builds a component in the setting `key` of the present one, so that its messages have the whole path.
    pub fn within<T>(&mut self, key: &str, build: impl FnOnce(&mut BuildCx) -> T) -> T {
        let inner = joined(&self.path, key);
        let outer = std::mem::replace(&mut self.path, inner);
        let built = build(self);
        self.path = outer;
        built
    }

    /// Builds every component of the list in the setting `key`; the path of the second one ends in `key[1]`.
    ///
    /// # Errors
    /// That of the first that cannot be built.
    pub fn each<C: ?Sized, T>(
        &mut self,
        key: &str,
        list: &[Box<C>],
        build: impl Fn(&C, &mut BuildCx) -> Result<T>,
    ) -> Result<Vec<T>> {
        let all = list.iter().enumerate();
        all.map(|(i, config)| self.within(&format!("{key}[{i}]"), |cx| build(config, cx))).collect()
    }

    /// The error of a component that cannot take its setting `key`; the message says what it is and what it must be,
    /// such as `is 3, must be even`.
    pub fn refuse(&self, key: &str, message: impl Into<String>) -> Error {
        Error::config(joined(&self.path, key), message)
    }

    /// The box or interval in the setting `key`, if it is given.
    ///
    /// # Errors
    /// If its ends are not finite or do not rise.
    pub fn interval(&self, key: &str, ends: Option<[f64; 2]>) -> Result<Option<(f64, f64)>> {
        match ends {
            Some([low, high]) if !(low < high && low.is_finite() && high.is_finite()) => {
                let message = format!(
                    "is [{low}, {high}], must be two finite numbers in rising order, such as [0.0, 1.0]"
                );
                Err(self.refuse(key, message))
            }
            other => Ok(other.map(|[low, high]| (low, high))),
        }
    }

    /// The error of a constructor that was given what stands in the setting `key`: the same, at that place.
    pub fn relocate(&self, key: &str, e: Error) -> Error {
        match e {
            Error::Config { path, message } => self.refuse(key, format!("{path}: {message}")),
            Error::Shape { component, found, expected, hint } => {
                let hint = format!("{hint} ({component})");
                Error::Shape { component: joined(&self.path, key), found, expected, hint }
            }
            other => other,
        }
    }

    /// The fused engine for energies that are built here, if any.
    pub fn engine(&self) -> Option<&Arc<dyn Engine>> {
        self.engine.as_ref()
    }

    /// Shape of one sample.
    pub fn sample_shape(&self) -> &[usize] {
        &self.sample_shape
    }

    /// Number of values of one sample.
    pub fn sample_len(&self) -> usize {
        self.sample_shape.iter().product()
    }

    /// Length of the condition vector; 0 for none.
    pub fn condition(&self) -> usize {
        self.condition
    }

    /// Length of the label of a part whose setting `conditional` says whether it takes one: that of the condition, or 0.
    ///
    /// # Errors
    /// If it takes one and there is none.
    pub fn label(&self, conditional: bool) -> Result<usize> {
        match (conditional, self.condition) {
            (false, _) => Ok(0),
            (true, 0) => {
                let message = "is true, but the data have no labels; use labelled data or set it to false";
                Err(self.refuse("conditional", message))
            }
            (true, n) => Ok(n),
        }
    }

    /// Range of sample values, if bounded.
    pub fn range(&self) -> Option<(f64, f64)> {
        self.range
    }

    /// Number type of parameters.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// Device of parameters.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// Key of initial values.
    pub fn key(&self) -> Key {
        self.key
    }

    /// Dotted path of the component that is being built, for messages.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// A path in the configuration, in the first of the places that has it.
    pub fn resolve(&self, path: impl AsRef<Path>) -> PathBuf {
        let (path, found) = (path.as_ref(), self.places.find(path.as_ref()));
        if !found.exists() {
            self.missing.borrow_mut().push(path.to_path_buf());
        }
        found
    }

    /// What came of building a part. If a file of it was in none of several places, the error says where it was looked for.
    ///
    /// # Errors
    /// That of `built`.
    pub fn located<T>(&self, built: Result<T>) -> Result<T> {
        let missing = self.missing.borrow();
        let tried = missing.iter().map(|path| self.places.candidates(path)).find(|all| all.len() > 1);
        let (Err(e @ (Error::Data { .. } | Error::DataFile(_))), Some(tried)) = (&built, tried) else {
            return built;
        };
        let tried: Vec<String> = tried.iter().map(|p| p.display().to_string()).collect();
        Err(Error::Absent { message: e.to_string(), tried })
    }

    /// Remarks for `ebm check`, such as why a part runs on the graph.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// Adds a remark for `ebm check`.
    pub fn note(&mut self, text: impl Into<String>) {
        self.notes.push(format!("{}: {}", self.path, text.into()));
    }

    /// The samples as an image `(C, H, W)`.
    ///
    /// # Errors
    /// If samples are not images.
    pub fn image_shape(&self) -> Result<(usize, usize, usize)> {
        match self.sample_shape[..] {
            [c, h, w] => Ok((c, h, w)),
            _ => Err(Error::shape(
                &self.path,
                &self.sample_shape,
                "(C, H, W)",
                "this energy is for images; use an image data set or another energy",
            )),
        }
    }

    /// Declares the trainable parameter `name`.
    ///
    /// # Errors
    /// If the name is taken.
    pub fn param(&mut self, name: &str, shape: impl Into<candle_core::Shape>, init: Init) -> Result<()> {
        self.tensor(name, shape, init, Role::Trainable)
    }

    /// Declares the buffer `name` (saved, never trained).
    ///
    /// # Errors
    /// If the name is taken.
    pub fn buffer(&mut self, name: &str, shape: impl Into<candle_core::Shape>, init: Init) -> Result<()> {
        self.tensor(name, shape, init, Role::Buffer)
    }

    /// Declares the tensor `name` with these values.
    ///
    /// # Errors
    /// If the name is taken.
    pub fn value(&mut self, name: &str, value: &Tensor, role: Role) -> Result<()> {
        if self.made.iter().any(|(n, _, _)| n == name) {
            return Err(Error::config(&self.path, format!("declares the parameter `{name}` twice")));
        }
        let value = value.to_dtype(self.dtype)?.to_device(&self.device)?;
        self.made.push((name.to_string(), value, role));
        Ok(())
    }

    fn tensor(
        &mut self,
        name: &str,
        shape: impl Into<candle_core::Shape>,
        init: Init,
        role: Role,
    ) -> Result<()> {
        let shape = shape.into();
        let fits =
            shape.dims().iter().try_fold(1usize, |n, d| n.checked_mul(*d)).filter(|n| *n <= MOST_ENTRIES);
        let Some(n) = fits else {
            return Err(Error::config(
                &self.path,
                format!(
                    "parameter `{name}` would have shape {shape:?}, more than {MOST_ENTRIES} entries; lower the widths"
                ),
            ));
        };
        let bytes = |(_, t, _): &(String, Tensor, Role)| t.elem_count() as u64 * 4;
        let all = self.made.iter().map(bytes).sum::<u64>() + n as u64 * 4;
        // A run holds the energy twice, with live weights and with averaged ones.
        if let Some(has) = machine::memory().filter(|has| 2 * all > *has) {
            let (all, has) = (machine::in_words(all), machine::in_words(has));
            return Err(Error::config(
                &self.path,
                format!(
                    "parameters up to `{name}` take {all}, and a run holds them twice; the machine has {has}: lower the widths"
                ),
            ));
        }
        let key = self.key.at("init").at(name);
        let data = init.values(n, key);
        self.value(name, &Tensor::from_vec(data, shape, &Device::Cpu)?, role)
    }

    /// Takes the declared parameters as a set.
    ///
    /// # Errors
    /// If a tensor cannot be made.
    pub fn take_params(&mut self) -> Result<ParamSet> {
        ParamSet::new(std::mem::take(&mut self.made))
    }

    /// The energy of forward function `net` over the declared parameters, with these terms.
    ///
    /// # Errors
    /// If a tensor cannot be made.
    pub fn autograd<F: Forward>(&mut self, net: F, terms: &[&str]) -> Result<Arc<dyn EnergyFn>> {
        let spec = EnergySpec::new(&self.sample_shape, terms).on(self.domain());
        let params = self.take_params()?;
        Ok(Arc::new(Autograd::new(self.path.clone(), net, spec, params)))
    }

    /// Builds an energy, with the engine's twin where there is one: of the whole if its plan allows,
    /// else of each part that allows it. An energy with parts is built again for the latter.
    ///
    /// # Errors
    /// If the configuration does not fit.
    pub fn energy(&mut self, config: &dyn EnergyConfig) -> Result<Arc<dyn EnergyFn>> {
        let Some(engine) = self.engine.clone().filter(|_| !self.inside) else { return config.build(self) };
        let (notes, parts) = (self.notes.len(), self.parts);
        self.inside = true;
        let built = config.build(self);
        self.inside = false;
        let built = built?;
        match engine.accelerate(&built)? {
            Accelerated::Twin(twin) => Ok(twin),
            Accelerated::Graph(reason) if self.parts == parts => {
                self.note(format!("stays on the graph, because {reason}"));
                Ok(built)
            }
            Accelerated::Graph(_) => {
                engine.parts_instead(&built);
                self.notes.truncate(notes);
                config.build(self)
            }
        }
    }

    /// Builds a part of a composed energy for samples of `sample_shape`. Its initial values come from the key of
    /// `name`; it stands in the setting `key`, such as `parts[1].energy`.
    ///
    /// # Errors
    /// If the part's configuration does not fit.
    pub fn part(
        &mut self,
        name: &str,
        key: &str,
        sample_shape: &[usize],
        config: &dyn EnergyConfig,
    ) -> Result<Arc<dyn EnergyFn>> {
        self.part_under(name, key, sample_shape, self.condition, config)
    }

    /// As [`BuildCx::part`], for a part that takes another condition than the batch has.
    ///
    /// # Errors
    /// If the part's configuration does not fit.
    pub fn part_under(
        &mut self,
        name: &str,
        key: &str,
        sample_shape: &[usize],
        condition: usize,
        config: &dyn EnergyConfig,
    ) -> Result<Arc<dyn EnergyFn>> {
        if name.is_empty() || name.chars().any(char::is_control) {
            let message = format!(
                "is {name:?}, wanted a name of letters, digits and signs: the part's parameters and terms stand under it"
            );
            return Err(self.refuse(&key.replace(".energy", ".name"), message));
        }
        let same = sample_shape == self.sample_shape;
        let mut inner = BuildCx {
            products: self.products,
            sample_shape: sample_shape.to_vec(),
            condition,
            range: self.range,
            domain: self.domain,
            mean: self.mean.clone().filter(|_| same),
            dtype: self.dtype,
            device: self.device.clone(),
            key: self.key.at(name),
            places: self.places.clone(),
            missing: RefCell::default(),
            data: self.data.clone(),
            engine: self.engine.clone(),
            inside: self.inside,
            parts: 0,
            shards: self.shards,
            path: joined(&self.path, key),
            made: Vec::new(),
            notes: Vec::new(),
        };
        let built = inner.energy(config);
        self.parts += 1;
        self.notes.append(&mut inner.notes);
        built
    }
}
