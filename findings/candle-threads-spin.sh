#!/usr/bin/env bash
# candle's worker threads burn processor time after an operation, on cores that others need.
#
# candle-core 0.11.1 splits elementwise operations on 65,536 entries and more (plain tensors on the processor, no quantisation) over
# a pool of its own. Each of its threads then looks for more work 25,000 times, about a millisecond, before it sleeps; the
# process takes that time on every core though nothing runs. One entry fewer and it takes none. A program with threads of its own
# is slowed down by it: a training step of a small network, whose weights are 256 x 256, took a quarter longer. The
# environment variable CANDLE_BARRIER_POOL_SPIN_LIMIT, which the documentation does not name, ends it. Needs two cores.
#
# For us: the program sets the variable before anything runs, and adds gradients by a loop of its own.
source "$(dirname "$0")/lib.sh"
cat > "$work/main.rs" <<'R'
use candle_core::{Device, Tensor};
use std::time::Duration;

/// Processor time of this process so far, in seconds.
fn spent() -> f64 {
    let text = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = text[text.rfind(')').unwrap()..].split(' ').collect();
    (fields[12].parse::<f64>().unwrap() + fields[13].parse::<f64>().unwrap()) / 100.0
}

/// Processor time of 400 additions of so many entries, with 5 ms of sleep after each.
fn additions(entries: usize) -> f64 {
    let x = Tensor::ones(entries, candle_core::DType::F32, &Device::Cpu).unwrap();
    let before = spent();
    for _ in 0..400 {
        let _ = (&x + &x).unwrap();
        std::thread::sleep(Duration::from_millis(5));
    }
    spent() - before
}

fn main() {
    let (below, at) = (additions(65_535), additions(65_536));
    println!("processor seconds of 400 additions: {below:.2} of 65,535 entries, {at:.2} of 65,536");
    let limited = std::env::var_os("CANDLE_BARRIER_POOL_SPIN_LIMIT").is_some();
    assert!(limited || at > 5.0 * (below + 0.01), "this has changed");
}
R
rust candle-core==0.11.1 < "$work/main.rs"
CANDLE_BARRIER_POOL_SPIN_LIMIT=0 rust candle-core==0.11.1 < "$work/main.rs"
