//! Energies of discrete samples: five calls, golden sums over all samples, and conditional laws against enumeration.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use ebm_core::candle::{DType, Device, Tensor};
use ebm_core::{Batch, BuildCx, Chains, Domain, EnergyConfig, EnergyFn, Key, WeightFn, host};
use ebm_energies_discrete as _;
use ebm_eval::{EvalError, digit, enumerate};
use ebm_testkit::check_energy;

fn energy(shape: &[usize], text: &str) -> Arc<dyn EnergyFn> {
    let config: Box<dyn EnergyConfig> = toml::from_str(text).unwrap();
    config.build(&mut BuildCx::new(shape, DType::F64, &Device::Cpu, Key::root(1))).unwrap()
}

fn set(e: &dyn EnergyFn, name: &str, values: impl Iterator<Item = f64>) {
    let dims = e.params().get(name).unwrap().dims().to_vec();
    let t = Tensor::from_vec(values.collect::<Vec<f64>>(), dims, &Device::Cpu).unwrap();
    e.params().set(name, &t).unwrap();
}

/// Samples `first .. first + count` of all, `(count, ...)`.
fn samples(e: &dyn EnergyFn, first: u64, count: usize) -> Batch {
    let (shape, domain) = (e.spec().sample_shape.clone(), e.spec().domain);
    let (values, k) = (shape.iter().product::<usize>(), domain.states().unwrap());
    let sites = if let Domain::Categorical(k) = domain { values / k } else { values };
    let mut x = Vec::with_capacity(count * values);
    for n in first..first + count as u64 {
        for site in 0..sites {
            let state = digit(n, site, k);
            match domain {
                Domain::Spins => x.push(2.0 * state as f64 - 1.0),
                Domain::Binary => x.push(state as f64),
                _ => x.extend((0..k).map(|s| f64::from(u8::from(s == state)))),
            }
        }
    }
    Batch::new(Tensor::from_vec(x, [&[count], &shape[..]].concat(), &Device::Cpu).unwrap()).unwrap()
}

fn energies(e: &dyn EnergyFn, first: u64, count: usize) -> Vec<f64> {
    host::numbers(&e.energy(&samples(e, first, count)).unwrap()).unwrap()
}

fn all(e: &dyn EnergyFn) -> ebm_eval::Enumerated {
    let values: usize = e.spec().sample_shape.iter().product();
    let k = e.spec().domain.states().unwrap();
    let sites = if let Domain::Categorical(k) = e.spec().domain { values / k } else { values };
    enumerate(sites, k, 4096, |first, count| Ok::<_, EvalError>(energies(e, first, count))).unwrap()
}

fn close(found: f64, want: f64) {
    // Sums of 65,536 terms in double precision, in another order; a variance is a difference of two.
    assert!((found / want - 1.0).abs() < 1e-11, "{found} against {want}");
}

/// Golden numbers of another program (sums in double precision).
#[test]
fn ising_models_have_the_golden_sums() {
    let critical = (1.0 + 2f64.sqrt()).ln() / 2.0;
    for (j, log_z, mean, variance) in [
        (0.3, 12.78552332571368, -4.051459553394473, 7.055882457225071),
        (critical, 15.521915458755283, -11.03919562907102, 12.532269214867526),
    ] {
        let found = all(energy(&[4, 4], &format!("kind = 'ising'\ncoupling = {j:?}")).as_ref());
        close(found.log_z, log_z);
        close(found.mean_energy, mean);
        close(found.variance_energy, variance);
    }
    let e = energy(&[16], "kind = 'ising'\ncomplete = true");
    let pairs = (0..16).flat_map(|i| (i + 1..16).map(move |j| (i, j)));
    set(e.as_ref(), "coupling", pairs.map(|(i, j)| 0.15 * f64::from(1 + 3 * i + 5 * j).sin()));
    set(e.as_ref(), "field", (0..16).map(|i| 0.2 * (2.0 * f64::from(i)).cos()));
    let found = all(e.as_ref());
    close(found.log_z, 11.97768023618935);
    close(found.mean_energy, -1.9125517565395391);
    close(found.variance_energy, 2.4359840654607745);
}

fn golden_rbm(visible: usize, hidden: usize, scale: f64) -> Arc<dyn EnergyFn> {
    let e = energy(&[visible], &format!("kind = 'rbm'\nhidden = {hidden}"));
    let weights = (0..visible).flat_map(|i| (0..hidden).map(move |j| (i, j)));
    set(e.as_ref(), "weight", weights.map(|(i, j)| scale * ((1 + 3 * i + 5 * j) as f64).sin()));
    set(e.as_ref(), "visible", (0..visible).map(|i| 0.3 * (2.0 * i as f64).cos()));
    set(e.as_ref(), "hidden", (0..hidden).map(|j| -0.4 * (3.0 * j as f64).sin()));
    e
}

#[test]
fn boltzmann_machines_have_the_golden_sums() {
    close(all(golden_rbm(12, 8, 0.8).as_ref()).log_z, 16.39115593689573);
    // Of 784 visible units the sum goes over the hidden ones: the same machine with sides exchanged.
    let (v, h) = (784usize, 16usize);
    let e = golden_rbm(v, h, 0.12);
    let turned = energy(&[h], &format!("kind = 'rbm'\nhidden = {v}"));
    let weight = e.params().get("weight").unwrap().t().unwrap().contiguous().unwrap();
    turned.params().set("weight", &weight).unwrap();
    turned.params().set("visible", e.params().get("hidden").unwrap()).unwrap();
    turned.params().set("hidden", e.params().get("visible").unwrap()).unwrap();
    close(all(turned.as_ref()).log_z, 573.8666850551266);
}

#[test]
fn all_five_calls_are_exact() {
    let x = Key::root(5).normal(&Chains::range(0, 3), &[2, 3], DType::F64, &Device::Cpu).unwrap();
    let at = Batch::new(x).unwrap();
    for text in [
        "kind = 'ising'\ncoupling = 0.3\nfield = 0.2",
        "kind = 'ising'\nedges = [0, 1, 2, 5]",
        "kind = 'potts'\ncoupling = 0.7",
        "kind = 'rbm'\nhidden = 4\ninit = 0.7",
        "kind = 'deep-rbm'\nlayers = [4, 2, 3]\ninit = 0.7",
        "kind = 'rbm'\nhidden = 4\ninit = 0.7\nvisible = 'gaussian'\nsd = 0.6",
    ] {
        check_energy(energy(&[2, 3], text).as_ref(), &at).unwrap_or_else(|e| panic!("{text}: {e}"));
    }
    let config: Box<dyn EnergyConfig> =
        toml::from_str("kind = 'rbm'\nhidden = 4\ninit = 0.7\ncentred = true").unwrap();
    let mean = Tensor::from_vec(vec![0.1, 0.5, 0.7, 0.0, 0.3, 0.9], (2, 3), &Device::Cpu).unwrap();
    let cx = BuildCx::new(&[2, 3], DType::F64, &Device::Cpu, Key::root(1));
    let e = config.build(&mut cx.with_domain(Domain::Binary, Some(mean))).unwrap();
    check_energy(e.as_ref(), &at).unwrap();
    // The centre of the hidden units moves, and the law of the visible ones stays: energies move by one number.
    let energies = |at: &Batch| e.energy(at).unwrap().to_vec1::<f64>().unwrap();
    e.params().set("hidden", &Tensor::new(&[-2.0, 0.5, 1.0, 3.0], &Device::Cpu).unwrap()).unwrap();
    let before = energies(&at);
    for (name, value) in e.refreshed_buffers().unwrap() {
        e.params().set(&name, &value).unwrap();
    }
    let centre = e.params().get("centre").unwrap().to_vec1::<f64>().unwrap();
    assert!((centre[0] - (0.5 + 0.01 * (1.0 / (1.0 + 2f64.exp()) - 0.5))).abs() < 1e-15, "{centre:?}");
    let moved: Vec<f64> = energies(&at).iter().zip(&before).map(|(a, b)| a - b).collect();
    assert!(moved[0].abs() > 1e-4 && moved.iter().all(|m| (m - moved[0]).abs() < 1e-12), "{moved:?}");
    check_energy(e.as_ref(), &at).unwrap();
}

/// Draws of one block many times over against the law that the energies of all its values give.
#[test]
fn blocks_are_drawn_from_their_laws() {
    let n = 40_000;
    for (shape, text) in [
        (&[5][..], "kind = 'ising'\ncoupling = 0.5\nfield = 0.3"),
        (&[2, 2], "kind = 'ising'\ncoupling = -0.4\nfields = [0.1, -0.6, 0.2, 0.0]"),
        (&[3, 3], "kind = 'potts'\ncoupling = 0.8\nfields = [0.1, 0.5, 0.0, -0.3, 0.2, 0.0, 0.4, 0.0, 0.1]"),
    ] {
        let e = energy(shape, text);
        let laws = e.conditionals().unwrap();
        let start = samples(e.as_ref(), 5, 1).x;
        let rows = start.broadcast_as([&[n], shape].concat()).unwrap().contiguous().unwrap();
        let at = Batch::new(rows).unwrap();
        for block in 0..laws.blocks() {
            let drawn = host::numbers(&laws.redraw(&at, block, Key::root(3)).unwrap()).unwrap();
            let width = drawn.len() / n;
            let count = match e.spec().domain {
                Domain::Categorical(k) => k.pow((width / k) as u32),
                _ => 1 << width,
            };
            let every = host::numbers(&samples(e.as_ref(), 0, count).x).unwrap();
            let energies = energies(e.as_ref(), 0, count);
            // Samples that were drawn at all differ in the block alone; their law is exp(−E) among all that could be.
            let seen = |i: usize| drawn.chunks(width).filter(|d| *d == &every[i * width..][..width]).count();
            let counts: Vec<usize> = (0..count).map(seen).collect();
            let total: f64 = (0..count).filter(|i| counts[*i] > 0).map(|i| (-energies[i]).exp()).sum();
            assert_eq!(counts.iter().sum::<usize>(), n, "{text}: all are of the domain");
            for i in (0..count).filter(|i| counts[*i] > 0) {
                let p = (-energies[i]).exp() / total;
                let se = (n as f64 * p * (1.0 - p)).sqrt();
                // Four and a half: some thirty comparisons.
                assert!(
                    (counts[i] as f64 - n as f64 * p).abs() < 4.5 * se + 1e-9,
                    "{text}: {i} of block {block}"
                );
            }
        }
    }
}

/// Sweeps of hidden and visible units against the sums over all samples.
#[test]
fn sweeps_of_a_boltzmann_machine_keep_its_law() {
    let mean = Tensor::from_vec(vec![0.1, 0.5, 0.7, 0.3], 4, &Device::Cpu).unwrap();
    for (domain, text) in [
        (None, "kind = 'rbm'\nhidden = 3\ninit = 1.0"),
        (Some(mean), "kind = 'rbm'\nhidden = 3\ninit = 1.0\ncentred = true"),
        (None, "kind = 'deep-rbm'\nlayers = [3, 2, 2]\ninit = 1.0"),
    ] {
        let config: Box<dyn EnergyConfig> = toml::from_str(text).unwrap();
        let cx = BuildCx::new(&[4], DType::F64, &Device::Cpu, Key::root(7));
        let e = config.build(&mut cx.with_domain(Domain::Binary, domain)).unwrap();
        let e = e.as_ref();
        let (n, chains) = (30_000usize, Chains::range(0, 30_000));
        let mut at = samples(e, 9, 1);
        at =
            Batch::new(at.x.broadcast_as((n, 4)).unwrap().contiguous().unwrap()).unwrap().with_chains(chains);
        // The slowest mode of three hidden units decays within a few sweeps.
        for k in 0..25usize {
            at = at.with_x(e.conditionals().unwrap().redraw(&at, 0, Key::root(2).at(k)).unwrap());
        }
        let found = host::numbers(&at.x).unwrap();
        let (energies, log_z) = (energies(e, 0, 16), all(e).log_z);
        for (i, energy) in energies.iter().enumerate() {
            let want: Vec<f64> = (0..4).map(|s| digit(i as u64, s, 2) as f64).collect();
            let share = found.chunks(4).filter(|x| *x == want).count() as f64 / n as f64;
            let p = (-energy - log_z).exp();
            let se = (p * (1.0 - p) / n as f64).sqrt();
            assert!((share - p).abs() < 4.0 * se, "{text}, {i}: {share} for {p}");
        }
    }
}

/// The beginning of the path has the log Z that is told, its end is the energy.
#[test]
fn paths_lead_from_independent_coordinates_to_the_energy() {
    for (shape, text) in [
        (&[4][..], "kind = 'ising'\ncoupling = 0.5\nfield = 0.3"),
        (&[3, 2], "kind = 'potts'\ncoupling = 0.8"),
        (&[5], "kind = 'rbm'\nhidden = 3\ninit = 1.0"),
        (&[6], "kind = 'deep-rbm'\nlayers = [3, 2, 4]\ninit = 0.8"),
    ] {
        let e = energy(shape, text);
        let laws = e.conditionals().unwrap();
        let n: usize = shape.iter().product();
        let fields: Vec<f64> = (0..n).map(|i| 0.4 * (i as f64).cos()).collect();
        let fields = Tensor::from_vec(fields, shape, &Device::Cpu).unwrap();
        let at = |beta: f64| all(laws.along(beta, &fields).unwrap().as_ref()).log_z;
        close(at(0.0), laws.log_z_of_fields(&fields).unwrap());
        close(at(1.0), all(e.as_ref()).log_z);
        assert!(laws.along(0.5, &fields.narrow(0, 0, 1).unwrap()).is_err());
    }
}

/// Sums over units that are on, in single precision, against the graph in double precision.
#[test]
fn quick_sums_of_binary_units_are_those_of_the_graph() {
    for centred in [false, true] {
        let text = format!("kind = 'rbm'\nhidden = 21\ninit = 0.8\ncentred = {centred}");
        let config: Box<dyn EnergyConfig> = toml::from_str(&text).unwrap();
        let build = |dtype| {
            let mean: Vec<f64> = (0..37).map(|i| 0.02 + f64::from(i) / 40.0).collect();
            let mean = Tensor::from_vec(mean, 37, &Device::Cpu).unwrap();
            let cx = BuildCx::new(&[37], dtype, &Device::Cpu, Key::root(7));
            config.build(&mut cx.with_domain(Domain::Binary, Some(mean))).unwrap()
        };
        let (single, double) = (build(DType::F32), build(DType::F64));
        let chains = Chains::range(0, 9);
        let x =
            Domain::Binary.uniform(&chains, &[37], DType::F64, &Device::Cpu, Key::root(2)).unwrap().unwrap();
        let (at, quick) =
            (Batch::new(x.clone()).unwrap(), Batch::new(x.to_dtype(DType::F32).unwrap()).unwrap());
        let near = |a: &Tensor, b: &Tensor, what: &str| {
            let (a, b) = (host::numbers(a).unwrap(), host::numbers(b).unwrap());
            let size = b.iter().fold(1.0, |m: f64, v| m.max(v.abs()));
            // Rounding of sums of some fifty numbers in single precision.
            assert!(a.iter().zip(&b).all(|(a, b)| (a - b).abs() < 3e-6 * size), "{what}: {a:?} {b:?}");
        };
        near(&single.terms(&quick).unwrap(), &double.terms(&at).unwrap(), "terms");
        let weight = WeightFn::by_row(|_, t| Ok(t.affine(0.1, 0.7)?));
        let (a, b) = (single.grad_theta(&quick, &weight).unwrap(), double.grad_theta(&at, &weight).unwrap());
        assert_eq!(a.grads.keys().collect::<Vec<_>>(), b.grads.keys().collect::<Vec<_>>());
        a.grads.iter().for_each(|(name, g)| near(g, &b.grads[name], name));
        near(&a.terms, &b.terms, "terms of the gradient");
        // The same coins decide alike, but where a chance is within rounding of one.
        let draw =
            |e: &dyn EnergyFn, at: &Batch| e.conditionals().unwrap().redraw(at, 0, Key::root(3)).unwrap();
        near(&draw(single.as_ref(), &quick), &draw(double.as_ref(), &at), "draws");
        // Samples that are not binary take the graph.
        let half = Batch::new(quick.x.affine(0.5, 0.1).unwrap()).unwrap();
        let halved = Batch::new(at.x.affine(0.5, 0.1).unwrap()).unwrap();
        near(&single.terms(&half).unwrap(), &double.terms(&halved).unwrap(), "relaxed terms");
    }
}
