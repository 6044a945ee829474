//! Many tensors at once against the same one by one.

use std::collections::BTreeMap;

use candle_core::{DType, Device, Tensor, Var};
use ebm_core::operators::{Elementwise, Formula, Operators};
use ebm_core::{ParamSet, Role, first_bad_of_all};

use super::host::{Host, installed};
use super::{Mixed, gpu, near, normal, on, read};
use crate::operators;

/// Shapes of one number, of parts of a block, of blocks, and of several.
const SHAPES: [&[usize]; 6] = [&[1], &[7], &[16, 64], &[3, 5, 2, 2], &[1025], &[40, 70]];

on_devices!(programs_on_many_tensors_have_the_bits_of_those_on_one, |o, device| {
    let (many, one) = (o.many.as_ref().unwrap(), o.elementwise.as_ref().unwrap());
    let program = Elementwise::of::<Mixed, 2, 3, 3>();
    let rows: Vec<[Tensor; 3]> =
        SHAPES.iter().map(|shape| ["x", "y", "z"].map(|name| on(&normal(name, shape), device))).collect();
    let lists: Vec<Vec<&Tensor>> = rows.iter().map(|row| row.iter().collect()).collect();
    let got = many.map(&program, &Mixed.numbers(), &lists).unwrap().unwrap();
    for (got, row) in got.iter().zip(&lists) {
        let want = one.map(&program, &Mixed.numbers(), row).unwrap().unwrap();
        for (got, want) in got.iter().zip(&want) {
            assert_eq!((got.dims(), read(got)), (want.dims(), read(want)));
        }
    }
    // Another type, another shape within a row, none at all.
    let wide = lists[1][0].to_dtype(DType::F64).unwrap();
    assert!(many.map(&program, &Mixed.numbers(), &[vec![&wide, &wide, &wide]]).unwrap().is_none());
    assert!(
        many.map(&program, &Mixed.numbers(), &[vec![lists[0][0], lists[0][1], lists[1][2]]])
            .unwrap()
            .is_none()
    );
    assert!(many.map(&program, &Mixed.numbers(), &[]).unwrap().is_none());
});

on_devices!(squares_of_many_tensors_and_of_their_differences, |o, device| {
    let many = o.many.as_ref().unwrap();
    let all: Vec<Tensor> = SHAPES.iter().map(|shape| normal("a", shape)).collect();
    let less: Vec<Tensor> = SHAPES.iter().map(|shape| normal("b", shape)).collect();
    let (a, b): (Vec<Tensor>, Vec<Tensor>) =
        (all.iter().map(|t| on(t, device)).collect(), less.iter().map(|t| on(t, device)).collect());
    let pairs: Vec<_> =
        a.iter().zip(&b).enumerate().map(|(i, (a, b))| (a, (i % 2 == 1).then_some(b))).collect();
    let got = many.squares(&pairs).unwrap().unwrap();
    for (i, (a, b)) in all.iter().zip(&less).enumerate() {
        let t = if i % 2 == 1 { (a - b).unwrap() } else { a.clone() };
        let want = t.sqr().unwrap().sum_all().unwrap().reshape(1).unwrap();
        // Sums of up to 2800 squares, by parts of eight in f32.
        near(&got.narrow(0, i, 1).unwrap(), &want, 1e-5, &format!("{:?}", SHAPES[i]));
    }
});

on_devices!(many_tensors_are_written_over, |o, device| {
    let many = o.many.as_ref().unwrap();
    let new: Vec<Tensor> = SHAPES.iter().map(|shape| on(&normal("new", shape), device)).collect();
    let old: Vec<Var> =
        SHAPES.iter().map(|shape| Var::from_tensor(&on(&normal("old", shape), device)).unwrap()).collect();
    let pairs: Vec<(&Tensor, &Tensor)> = new.iter().zip(&old).map(|(n, o)| (n, o.as_tensor())).collect();
    assert!(many.copy(&pairs).unwrap());
    for (new, old) in &pairs {
        assert_eq!(read(new), read(old));
    }
    assert!(!many.copy(&[(&new[0], old[1].as_tensor())]).unwrap(), "other shapes are not covered");
});

#[test]
fn parameters_are_written_at_once_or_not_at_all() {
    let Some((_alone, launched)) = installed(false) else { return };
    let t = |v: &[f32]| Tensor::new(v, &Device::Cpu).unwrap();
    let params = ParamSet::new([
        ("a".to_string(), t(&[1.0, 2.0]), Role::Trainable),
        ("b".to_string(), t(&[3.0]), Role::Trainable),
    ]);
    let params = params.unwrap();
    let before = params.version();
    let new = |a: &[f32]| BTreeMap::from([("a".to_string(), t(&[8.0])), ("b".to_string(), t(a))]);
    assert!(params.set_all(&new(&[4.0])).is_err(), "a shape that does not fit");
    assert_eq!((read(params.get("b").unwrap()), params.version()), (vec![3.0], before));
    let right = BTreeMap::from([("a".to_string(), t(&[5.0, 6.0])), ("b".to_string(), t(&[7.0]))]);
    params.set_all(&right).unwrap();
    assert_eq!(read(params.get("a").unwrap()), [5.0, 6.0]);
    assert_eq!(read(params.get("b").unwrap()), [7.0]);
    assert!(params.version() > before && launched.lock().unwrap().contains("many_copy"));
    // What is kept elsewhere is not the parameter's own memory.
    assert_eq!(read(&right["b"]), [7.0]);
}

#[test]
fn the_first_bad_entry_of_many_tensors_is_named_by_few_reads() {
    let Some(_alone) = installed(false) else { return };
    let t = |v: &[f32]| Tensor::new(v, &Device::Cpu).unwrap();
    let good = [t(&[1.0, 2.0]), t(&[-3.0; 2000]), t(&[0.0])];
    let mut all: Vec<(&str, &Tensor)> = ["a", "b", "c"].into_iter().zip(&good).collect();
    let reads = || ebm_core::host::reads();
    let before = reads();
    assert_eq!(first_bad_of_all(&all).unwrap(), None);
    assert_eq!(reads() - before, 1);
    // Squares that overflow are no bad entry; the sum of their tensor shows it by a second read.
    let (large, bad) = (t(&[1e30, -1e30]), t(&[1.0, f32::NAN, f32::INFINITY]));
    all.extend([("large", &large), ("bad", &bad)]);
    let (name, index, value) = first_bad_of_all(&all).unwrap().unwrap();
    assert!((name, index) == ("bad", 1) && value.is_nan());
    // A type that the kernels do not take is looked at too.
    let double = bad.to_dtype(DType::F64).unwrap();
    assert_eq!(
        first_bad_of_all(&[("a", &good[0]), ("double", &double)]).unwrap().map(|b| (b.0, b.1)),
        Some(("double", 1))
    );
}
