//! Plan validation: order, operands, shapes, names and terms, with messages for plan authors.

use std::collections::{BTreeMap, HashSet};

use ebm_core::plan::{NetPlan, NodeId, Op};
use ebm_core::{Error, ParamSet, Result};

use crate::shape::{PlanTensor, result_shape, tensors_of};

/// Checks that a plan is complete: node 0 is the input, operands stand before their readers, node
/// names differ, shapes follow from the operations, and every term is a node of shape `[1]`.
///
/// # Errors
/// Names the node, what was found and what was wanted.
pub fn validate(plan: &NetPlan) -> Result<()> {
    let fail = |node: &str, message: String| Err(Error::config(format!("plan.{node}"), message));
    if plan.nodes.first().map(|n| &n.op) != Some(&Op::Input) {
        return fail("nodes", "the first node is not `Input`; begin every plan with its input".into());
    }
    let mut names = HashSet::new();
    for (id, node) in plan.nodes.iter().enumerate() {
        if !names.insert(node.name.as_str()) {
            return fail(&node.name, "two nodes have this name; node names must differ".into());
        }
        if id > 0 && node.op == Op::Input {
            return fail(&node.name, "a second `Input`; a plan has one input, node 0".into());
        }
        if let Some(&bad) = node.inputs.iter().find(|&&i| i >= id) {
            return fail(
                &node.name,
                format!("node {id} reads node {bad}, which does not stand before it; reorder the plan"),
            );
        }
        let operands: Vec<&[usize]> = node.inputs.iter().map(|&i| plan.nodes[i].shape.as_slice()).collect();
        let shape = match result_shape(&node.op, &operands, &plan.input) {
            Ok(shape) => shape,
            Err(message) => return fail(&node.name, message),
        };
        // 0 stands for a length that the weights decide.
        let fits = shape.len() == node.shape.len()
            && shape.iter().zip(&node.shape).all(|(s, n)| if *s == 0 { *n > 0 } else { s == n });
        if !fits {
            return fail(
                &node.name,
                format!(
                    "says its result has shape {:?}, but its operands give {shape:?} (0: free)",
                    node.shape
                ),
            );
        }
        match &node.op {
            Op::Fourier { .. } if node.shape[0] % 2 != 0 => {
                return fail(
                    &node.name,
                    format!("found {} Fourier features, wanted an even number", node.shape[0]),
                );
            }
            Op::Attention { .. } if node.shape[0] < 8 => {
                return fail(
                    &node.name,
                    format!("found {} channels, attention needs 8 or more; use more filters", node.shape[0]),
                );
            }
            Op::Condition if node.shape[0] != plan.condition => {
                let (found, wanted) = (node.shape[0], plan.condition);
                return fail(
                    &node.name,
                    format!("has length {found}, but the plan's condition has {wanted}"),
                );
            }
            Op::LabelAffine { .. } if plan.condition == 0 => {
                return fail(&node.name, "reads a label, but the plan's condition has length 0".into());
            }
            _ => {}
        }
    }
    if plan.terms.is_empty() {
        return fail("terms", "there are none; name at least one node of shape [1] as a term".into());
    }
    for term in &plan.terms {
        match plan.nodes.get(term.node) {
            Some(n) if n.shape == [1] => {}
            Some(n) => {
                return fail(
                    &term.name,
                    format!("a term needs shape [1], node `{}` has {:?}", n.name, n.shape),
                );
            }
            None => return fail(&term.name, format!("reads node {}, of which there is none", term.node)),
        }
    }
    plan_tensors(plan).map(|_| ())
}

/// All tensors that a plan reads, in order of names; a tensor that several nodes share appears once.
///
/// # Errors
/// If two nodes read one name with different shapes or roles.
pub fn plan_tensors(plan: &NetPlan) -> Result<Vec<PlanTensor>> {
    let mut all: BTreeMap<String, PlanTensor> = BTreeMap::new();
    for node in &plan.nodes {
        for t in tensors_of(plan, node) {
            match all.get(&t.name) {
                Some(other) if *other != t => {
                    return Err(Error::config(
                        &t.name,
                        format!(
                            "is read as {:?} {:?} and as {:?} {:?}; shared tensors must agree",
                            other.role, other.shape, t.role, t.shape
                        ),
                    ));
                }
                _ => {
                    all.insert(t.name.clone(), t);
                }
            }
        }
    }
    Ok(all.into_values().collect())
}

/// Checks that `params` holds every tensor of the plan in its shape and role.
///
/// # Errors
/// Names the first tensor that is missing or does not fit.
pub fn check_params(plan: &NetPlan, params: &ParamSet) -> Result<()> {
    for t in plan_tensors(plan)? {
        let found = params.frozen().get(&t.name)?;
        if found.dims() != t.shape {
            return Err(Error::shape(
                &t.name,
                found.dims(),
                format!("{:?}", t.shape),
                "the weights belong to another plan",
            ));
        }
        if params.role(&t.name) != Some(t.role) {
            return Err(Error::config(
                &t.name,
                format!("is {:?}, the plan wants {:?}", params.role(&t.name), t.role),
            ));
        }
    }
    Ok(())
}

/// A node that is read and has no value.
pub(crate) fn missing(id: NodeId) -> Error {
    Error::config("", format!("reads node {id}, which is not computed"))
}
