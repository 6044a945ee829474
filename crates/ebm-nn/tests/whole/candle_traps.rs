//! What candle 0.11.1 does without a word, line by line: the page of the book on it includes these lines. A test that fails here says
//! that a newer candle does otherwise, and the page with it.

#![allow(clippy::unwrap_used)]

use candle_core::backprop::GradStore;
use candle_core::{D, DType, Device, Module, Tensor, Var};

const CPU: &Device = &Device::Cpu;

fn numbers(t: &Tensor) -> Vec<f32> {
    t.flatten_all().unwrap().to_dtype(DType::F32).unwrap().to_vec1().unwrap()
}

fn grad(store: &GradStore, of: &Var) -> Vec<f32> {
    numbers(store.get(of).unwrap())
}

fn counting(dims: &[usize]) -> Tensor {
    let n: usize = dims.iter().product();
    Tensor::arange(0f32, n as f32, CPU).unwrap().reshape(dims).unwrap()
}

#[test]
fn fused_operations_have_no_gradient() {
    let x = Var::from_tensor(&counting(&[2, 4])).unwrap();
    let one = Tensor::ones(4, DType::F32, CPU).unwrap();
    // ANCHOR: fused
    let norm = candle_nn::LayerNorm::new(one.clone(), one.clone(), 1e-5);
    let cut = [
        norm.forward(&x).unwrap(),
        candle_nn::ops::rms_norm(&x, &one, 1e-5).unwrap(),
        candle_nn::ops::softmax_last_dim(&x).unwrap(),
    ];
    for y in cut {
        let store = y.sqr().unwrap().sum_all().unwrap().backward().unwrap();
        assert!(store.get(&x).is_none()); // not an error, and no gradient
    }
    // ANCHOR_END: fused
}

#[test]
fn a_gradient_of_a_gradient_is_half_of_it() {
    // ANCHOR: second
    let x = Var::new(&[0.5f32], CPU).unwrap(); // exp x², whose slope is 2x exp x²
    let energy = x.sqr().unwrap().exp().unwrap().sum_all().unwrap();
    let slope = energy.backward().unwrap().get(&x).unwrap().clone();
    let again = grad(&slope.sum_all().unwrap().backward().unwrap(), &x)[0];
    assert!((again - 2.0 * 0.25f32.exp()).abs() < 1e-5); // (2 + 4x²) exp x² is 3 exp ¼
    // ANCHOR_END: second
}

#[test]
fn products_with_a_transposed_batch_are_other_numbers() {
    // ANCHOR: matmul
    let x = counting(&[2, 3, 4]).transpose(1, 2).unwrap(); // (2, 4, 3), not in one piece
    let linear = candle_nn::Linear::new(counting(&[5, 3]), None);
    let (found, wanted) = (linear.forward(&x).unwrap(), linear.forward(&x.contiguous().unwrap()).unwrap());
    assert_ne!(numbers(&found), numbers(&wanted)); // so has `matmul` with a weight that is broadcast over the batch
    // ANCHOR_END: matmul
}

#[test]
fn convolutions_of_sequences_have_other_gradients() {
    // ANCHOR: conv1d
    let x = counting(&[2, 2, 4]);
    let w = Var::from_tensor(&counting(&[3, 2, 2])).unwrap();
    let (theirs, ours) =
        (x.conv1d(&w, 0, 1, 1, 1).unwrap(), ebm_nn::layers::conv1d(&x, &w, None, 1, 0).unwrap());
    assert_eq!(numbers(&theirs), numbers(&ours));
    let slope = |y: Tensor| grad(&y.sqr().unwrap().sum_all().unwrap().backward().unwrap(), &w);
    assert_ne!(slope(theirs), slope(ours)); // ours is that of differences
    // ANCHOR_END: conv1d
}

#[test]
fn pooling_has_other_gradients() {
    // ANCHOR: pooling
    let x = Var::from_tensor(&counting(&[1, 1, 2, 2])).unwrap();
    let store = x.max_pool2d(2).unwrap().sum_all().unwrap().backward().unwrap();
    assert_eq!(grad(&store, &x), [0.0, 0.0, 0.0, 0.25]); // of the largest entry it is 1

    let x = Var::from_tensor(&counting(&[1, 1, 5, 5])).unwrap();
    let store = x.avg_pool2d(2).unwrap().sum_all().unwrap().backward().unwrap();
    assert_eq!(grad(&store, &x)[4], 0.25); // the fifth column is in no window: it is 0
    // ANCHOR_END: pooling
}

#[test]
fn scattering_has_the_gradients_of_the_other_kind() {
    // ANCHOR: scatter
    let (into, from) = (Var::new(&[[1f32, 2.0, 3.0]], CPU).unwrap(), Var::new(&[[5f32]], CPU).unwrap());
    let index = Tensor::new(&[[1u32]], CPU).unwrap();
    let store = into.scatter(&index, &from, 1).unwrap().sum_all().unwrap().backward().unwrap();
    assert_eq!(grad(&store, &into), [1.0, 1.0, 1.0]); // entry 1 was overwritten: 0
    let (three, index) = (counting(&[1, 3]), Tensor::new(&[[1u32, 1, 1]], CPU).unwrap());
    let store = into.scatter_add(&index, &three, 1).unwrap().sum_all().unwrap().backward().unwrap();
    assert_eq!(grad(&store, &into), [1.0, 0.0, 1.0]); // entry 1 is still in the sum: 1
    // ANCHOR_END: scatter
}

#[test]
fn enlarging_forgets_other_paths() {
    // ANCHOR: upsample
    let x = Var::from_tensor(&counting(&[1, 1, 1, 1])).unwrap();
    let (large, sum) = (x.upsample_nearest2d(2, 2).unwrap().sum_all().unwrap(), x.sum_all().unwrap());
    let found =
        [(&large + &sum).unwrap(), (&sum + &large).unwrap()].map(|y| grad(&y.backward().unwrap(), &x)[0]);
    assert!(found.contains(&4.0)); // 5 in either order
    // ANCHOR_END: upsample
}

#[test]
fn the_largest_index_is_none() {
    // ANCHOR: index
    let x = counting(&[300]);
    let bytes = Tensor::new(&[254u8, 255], CPU).unwrap();
    assert_eq!(numbers(&x.index_select(&bytes, 0).unwrap()), [254.0, 0.0]); // the 255th entry is 255
    // ANCHOR_END: index
}

#[test]
fn the_largest_entry_passes_over_nan() {
    // ANCHOR: nan
    let max = |v: [f32; 3]| Tensor::new(&v, CPU).unwrap().max(0).unwrap().to_scalar::<f32>().unwrap();
    assert_eq!(max([1.0, f32::NAN, 2.0]), 2.0);
    assert!(max([f32::NAN, 1.0, 2.0]).is_nan()); // seen in the first place only
    // ANCHOR_END: nan
}

#[test]
fn sums_of_half_precision_stand_still() {
    // ANCHOR: half
    let ones = Tensor::ones(1000, DType::BF16, CPU).unwrap();
    assert_eq!(numbers(&ones.sum_all().unwrap()), [256.0]);
    // ANCHOR_END: half
}

#[test]
fn a_variable_of_a_tensor_is_a_copy() {
    // ANCHOR: copy
    let t = Tensor::new(&[1f32], CPU).unwrap();
    let v = Var::from_tensor(&t).unwrap();
    v.set(&Tensor::new(&[2f32], CPU).unwrap()).unwrap();
    assert_eq!(numbers(&t), [1.0]);
    // ANCHOR_END: copy
}

#[test]
fn softmax_of_a_row_at_minus_infinity_is_no_number() {
    // ANCHOR: infinity
    let row = Tensor::new(&[f32::NEG_INFINITY; 3], CPU).unwrap();
    assert!(numbers(&row.log_sum_exp(D::Minus1).unwrap())[0].is_nan()); // −∞
    // ANCHOR_END: infinity
}

#[test]
fn cross_entropy_of_sure_logits_is_no_number() {
    // ANCHOR: logits
    let loss = |logit: f32, label: f32| {
        let [logit, label] = [logit, label].map(|v| Tensor::new(&[v], CPU).unwrap());
        numbers(&candle_nn::loss::binary_cross_entropy_with_logit(&logit, &label).unwrap())[0]
    };
    assert!(loss(17.0, 1.0).is_nan()); // 4e-8: the sigmoid is 1, and 0 · log 0 is not a number
    assert_eq!(loss(17.0, 0.0), f32::INFINITY); // 17
    // ANCHOR_END: logits
}

#[test]
fn variables_of_equal_maps_have_other_orders() {
    // ANCHOR: order
    let layers = || {
        let map = candle_nn::VarMap::new();
        for i in 0..32 {
            let (name, init) = (format!("layer{i}"), candle_nn::Init::Const(f64::from(i)));
            map.get(1, &name, init, DType::F32, CPU).unwrap();
        }
        map.all_vars().iter().map(|v| numbers(v)[0]).collect::<Vec<_>>()
    };
    assert_ne!(layers(), layers()); // so zipping two networks, as averages of weights do, mixes layers
    // ANCHOR_END: order
}

#[test]
fn draws_of_categories_leave_out_rare_ones() {
    // ANCHOR: categories
    let mut law = vec![(0.1f32 / 9000.0).ln(); 9001]; // nine thousand categories share a tenth
    law[0] = 0.9f32.ln();
    let rows = Tensor::new(law, CPU).unwrap().broadcast_as((100, 9001)).unwrap().contiguous().unwrap();
    let drawn = candle_nn::sampling::gumbel_softmax(&rows, 1.0, 1).unwrap();
    assert_eq!(drawn.to_vec1::<u32>().unwrap(), [0; 100]); // ten or so are others
    // ANCHOR_END: categories
}
