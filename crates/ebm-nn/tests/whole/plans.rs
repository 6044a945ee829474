//! Plans: what a builder writes is valid, survives serde and has the cost one counts by hand; what is
//! broken is refused by name.
#![allow(clippy::unwrap_used)]

use ebm_core::candle::{DType, Device, Tensor};
use ebm_core::plan::{Activation, NetPlan, Op, Pool};
use ebm_core::{BuildCx, Key, Result};
use ebm_nn::layers::{pool2d, pooling_matrix, pooling_tensor};
use ebm_nn::{Conv, Cost, NetBuilder, validate};

fn cx(shape: &[usize]) -> BuildCx {
    BuildCx::new(shape, DType::F64, &Device::Cpu, Key::root(0))
}

fn small() -> NetPlan {
    let mut cx = cx(&[1, 6, 6]);
    let mut net = NetBuilder::new(&mut cx);
    net.conv("conv", Conv::new(2, 3).stride(2)).unwrap().activate(Activation::Swish).unwrap();
    net.flatten().unwrap().linear("head", 1).unwrap().term("energy");
    net.finish().unwrap().plan().unwrap().clone()
}

fn refusal(change: impl Fn(&mut NetPlan)) -> String {
    let mut plan = small();
    change(&mut plan);
    validate(&plan).unwrap_err().to_string()
}

#[test]
fn a_plan_survives_serde() {
    let plan = small();
    let text = serde_json::to_string(&plan).unwrap();
    assert_eq!(serde_json::from_str::<NetPlan>(&text).unwrap(), plan);
}

#[test]
fn cost_is_what_one_counts_by_hand() {
    // conv: 2·3·3 positions × 9, head: 18; activations: 18 after conv, 18 after swish, 1.
    let cost = Cost::of(&small()).unwrap();
    assert_eq!(cost, Cost { parameters: 2 * 9 + 2 + 18 + 1, multiply_adds: 18 * 9 + 18, activations: 37 });
    assert_eq!(cost.activation_bytes(10, 4), 1480);
}

#[test]
fn broken_plans_are_refused_by_name() {
    assert!(refusal(|p| p.nodes[1].inputs = vec![3]).contains("plan.conv"));
    assert!(refusal(|p| p.nodes[1].shape = vec![2, 4, 4]).contains("[0, 3, 3]"));
    assert!(refusal(|p| p.nodes[2].name = "conv".into()).contains("names must differ"));
    assert!(refusal(|p| p.terms.clear()).contains("terms"));
    assert!(refusal(|p| p.terms[0].node = 1).contains("needs shape [1]"));
    assert!(refusal(|p| p.nodes[0].op = Op::Flatten).contains("first node"));
    assert!(refusal(|p| p.nodes[3].op = Op::Add).contains("operands"));
}

#[test]
fn a_builder_refuses_what_does_not_fit() {
    let text = |f: &dyn Fn(&mut NetBuilder<'_>) -> Result<()>| {
        let mut cx = cx(&[3, 8, 8]);
        let mut net = NetBuilder::new(&mut cx);
        f(&mut net).unwrap_err().to_string()
    };
    assert!(text(&|n| n.linear("a", 2).map(|_| ())).contains("flatten it first"));
    assert!(text(&|n| n.conv("a", Conv::new(4, 11).padding(0)).map(|_| ())).contains("too small"));
    assert!(text(&|n| n.norm("a", 2).map(|_| ())).contains("do not divide"));
    assert!(text(&|n| n.attention("a").map(|_| ())).contains("8 or more"));
    assert!(
        text(&|n| n.conv("a", Conv::new(4, 3))?.conv("a", Conv::new(4, 3)).map(|_| ())).contains("this name")
    );
    assert!(text(&|n| n.label("a", 0).map(|_| ())).contains("length"));
}

#[test]
fn pooling_matrices_are_the_published_rules() {
    let third = 1.0 / 3.0;
    assert_eq!(pooling_matrix(&Pool::Average3, 4), [third, third, 0.0, 0.0, 0.0, third, third, third]);
    let odd = [third, third, 0.0, 0.0, third, third];
    assert_eq!(pooling_matrix(&Pool::Average3, 3), odd);
    assert_eq!(pooling_matrix(&Pool::Blur, 3), [0.5, 0.5, 0.0, 0.0, 0.5, 0.5]);
    assert_eq!(pooling_matrix(&Pool::Blur, 4), [0.5, 0.5, 0.0, 0.0, 0.0, 0.25, 0.5, 0.25]);
    assert_eq!(pooling_matrix(&Pool::Average { size: 2 }, 5)[..5], [0.5, 0.5, 0.0, 0.0, 0.0]);
}

#[test]
fn border_cells_of_the_padded_average_are_darkened() {
    let x = Tensor::ones((1, 1, 4, 4), DType::F64, &Device::Cpu).unwrap();
    let m = pooling_tensor(&Pool::Average3, 4, &x).unwrap();
    let y = pool2d(&x, &m, &m).unwrap().flatten_all().unwrap().to_vec1::<f64>().unwrap();
    let want = [4.0 / 9.0, 6.0 / 9.0, 6.0 / 9.0, 1.0];
    // Two roundings of thirds.
    assert!(y.iter().zip(want).all(|(a, b)| (a - b).abs() < 1e-15), "{y:?}");
}

/// The detour around candle's pooling can go once this fails: a gradient for cells no window covers.
#[test]
fn candles_average_pool_still_needs_the_detour() {
    use ebm_core::candle::Var;
    let x = Var::from_tensor(&Tensor::ones((1, 1, 3, 3), DType::F64, &Device::Cpu).unwrap()).unwrap();
    let y = x.as_tensor().avg_pool2d(2).unwrap().sum_all().unwrap();
    let wrong = match y.backward() {
        Err(_) => true,
        Ok(store) => match store.get(&x) {
            None => true,
            Some(g) => {
                g.get_on_dim(2, 2).unwrap().abs().unwrap().sum_all().unwrap().to_scalar::<f64>().unwrap()
                    > 0.0
            }
        },
    };
    assert!(wrong, "candle's avg_pool2d now has a right backward pass: pooling may use it");
}
