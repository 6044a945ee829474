//! One published block with group norm and labels: first- and second-order gradients.

use std::collections::BTreeMap;
use std::sync::Arc;

use ebm_core::candle::{Device, Tensor};
use ebm_core::{Accelerated, Batch, BuildCx, EnergyFn, Key, Result, WeightFn};
use ebm_energies_paper::block::{Layers, block};
use ebm_exchange::{CompareMode, Compared};
use ebm_nn::{NetBuilder, PlanNet};

use super::compare::{max_over_max, norm, relative};
use super::golden::Golden;
use super::report::Report;

/// The block with `L = Σ y·c` as its energy: `c` is the weight of a linear layer called `c`.
fn build(cx: &mut BuildCx, filters: usize, classes: usize) -> Result<Arc<dyn EnergyFn>> {
    let mut net = NetBuilder::new(cx);
    block(&mut net, "block", filters, None, &Layers { classes, ..Layers::default() })?;
    net.flatten()?.linear("c", 1)?.term("energy");
    net.finish()
}

pub(crate) fn check(golden: &Golden, mode: &CompareMode) -> Result<Compared> {
    let x = golden.input("x")?;
    let label = golden.input("label")?;
    let classes = golden.count("classes")?;
    let mut cx =
        BuildCx::new(&x.dims()[1..], golden.dtype(), &Device::Cpu, Key::root(0)).with_condition(classes);
    let mut e = build(&mut cx, golden.count("filters")?, classes)?;
    if let Some(engine) = &mode.engine
        && let Accelerated::Twin(twin) = engine.accelerate(&e)?
    {
        e = twin;
    }
    let p = e.params();
    for (name, value) in golden.group("w")? {
        if name == "conv1.weight" {
            p.set("block.conv2.weight", &value.transpose(0, 1)?.contiguous()?)?;
        }
        p.set(&format!("block.{name}"), &value)?;
    }
    let c = golden.input("c")?.flatten_from(1)?;
    p.set("c.weight", &c)?;
    p.set("c.bias", &Tensor::zeros(1, golden.dtype(), &Device::Cpu)?)?;

    let mut report = Report::new(mode);
    let at = Batch::new(x.clone())?.with_cond(Some(label.clone()));
    if let Some(plan) = e.plan() {
        // The node before `flatten`, `c` and nothing else: the block's last sum.
        let last = &plan.nodes[plan.nodes.len() - 3].name;
        let y = PlanNet::new(plan.clone())?.node(last, p.frozen(), &x, Some(&label))?;
        report.add("y", max_over_max(&y, &golden.like("y", &y)?)?, 2e-5);
    }
    let dx = e.slope(&at)?.grad;
    report.add("dx", max_over_max(&dx, &golden.like("dx", &dx)?)?, 2e-5);
    let ones = WeightFn::ones();
    let first = e.grad_theta(&at, &ones)?.grads;
    let second = e.grad_theta_slope(&at, &golden.input("v")?)?.grads;
    let norms = golden.numbers("full_norms")?;
    for (order, found) in [("g1", first), ("g2", second)] {
        for (name, want) in golden.group(order)? {
            let Some(g) = found.get(&format!("block.{name}")) else {
                report.add(format!("{order}.{name} is absent"), f64::INFINITY, 0.0);
                continue;
            };
            // Of the two convolutions the file holds the first output channels only.
            let rows = want.dims().first().copied().unwrap_or(0).min(g.dims().first().copied().unwrap_or(0));
            let part = if g.rank() == 0 { g.clone() } else { g.narrow(0, 0, rows)? };
            golden.shaped(&format!("{order}.{name}"), &want, part.dims())?;
            report.add(format!("{order}.{name}"), max_over_max(&part, &want)?, 2e-5);
            if let Some(whole) = norms.get(&format!("{order}.{name}")) {
                let mine = norm(&BTreeMap::from([(name.clone(), g.clone())]))?;
                report.add(format!("{order}.{name}, norm of all"), relative(mine, *whole), 2e-5);
            }
        }
    }
    let subject = format!("one block, {} filters, {classes} classes", golden.count("filters")?);
    Ok(Compared { subject, engine: e.engine(), energy: None, rows: report.rows() })
}
