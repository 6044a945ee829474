//! Ranks as threads of one process: the whole protocol with nothing to install.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use ebm_core::{Collective, Error, Result};

/// One rank of a group of threads. When a rank is dropped or aborts while others wait for it, they get an error
/// instead of waiting for ever.
#[derive(Debug)]
pub struct Threads {
    rank: usize,
    group: Arc<Group>,
}

#[derive(Debug)]
struct Group {
    size: usize,
    state: Mutex<State>,
    turned: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// Number of meetings that all have left.
    round: u64,
    arrived: usize,
    /// A rank is gone.
    broken: bool,
    /// Messages by sender and receiver.
    post: Vec<Vec<Vec<u8>>>,
}

impl Group {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until all ranks are here.
    fn meet<'a>(&'a self, mut state: MutexGuard<'a, State>) -> Result<MutexGuard<'a, State>> {
        let broken = || Error::plugin("ranks", "another rank has ended");
        if state.broken {
            return Err(broken());
        }
        let round = state.round;
        state.arrived += 1;
        if state.arrived == self.size {
            state.arrived = 0;
            state.round += 1;
            self.turned.notify_all();
            return Ok(state);
        }
        while state.round == round {
            if state.broken {
                return Err(broken());
            }
            state = self.turned.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        Ok(state)
    }
}

impl Threads {
    /// A group of `size` ranks, one value for each thread.
    pub fn group(size: usize) -> Vec<Threads> {
        let size = size.max(1);
        let state = Mutex::new(State { post: vec![Vec::new(); size], ..State::default() });
        let group = Arc::new(Group { size, state, turned: Condvar::new() });
        (0..size).map(|rank| Threads { rank, group: group.clone() }).collect()
    }

    /// Runs `body` on each of `size` ranks and returns what came of it, by rank. A panic of one goes on here.
    pub fn run<T: Send>(size: usize, body: impl Fn(Arc<dyn Collective>) -> T + Sync) -> Vec<T> {
        std::thread::scope(|scope| {
            let body = &body;
            let start = |rank: Threads| scope.spawn(move || body(Arc::new(rank)));
            let all: Vec<_> = Threads::group(size).into_iter().map(start).collect();
            let end = |t: std::thread::ScopedJoinHandle<'_, T>| {
                t.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            };
            all.into_iter().map(end).collect()
        })
    }

    fn leave(&self) {
        self.group.state().broken = true;
        self.group.turned.notify_all();
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        self.leave();
    }
}

impl Collective for Threads {
    fn rank(&self) -> usize {
        self.rank
    }

    fn size(&self) -> usize {
        self.group.size
    }

    fn exchange(&self, outgoing: Vec<Vec<u8>>) -> Result<Vec<Vec<u8>>> {
        if outgoing.len() != self.group.size {
            let found = format!("{} messages for {} ranks", outgoing.len(), self.group.size);
            return Err(Error::plugin("ranks", found));
        }
        let mut state = self.group.state();
        state.post[self.rank] = outgoing;
        let mut state = self.group.meet(state)?;
        let mine = state.post.iter_mut().map(|sent| std::mem::take(&mut sent[self.rank])).collect();
        // Nobody may post again before all have read.
        drop(self.group.meet(state)?);
        Ok(mine)
    }

    fn gather(&self, mine: &[u8]) -> Result<Vec<Vec<u8>>> {
        self.exchange(vec![mine.to_vec(); self.group.size])
    }

    fn collect(&self, mine: Vec<u8>) -> Result<Option<Vec<Vec<u8>>>> {
        let mut outgoing = vec![Vec::new(); self.group.size];
        outgoing[0] = mine;
        let all = self.exchange(outgoing)?;
        Ok((self.rank == 0).then_some(all))
    }

    fn abort(&self, code: i32) -> ! {
        self.leave();
        panic!("rank {} aborts with code {code}", self.rank)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use candle_core::{DType, Device, Tensor};
    use ebm_core::{Sums, agree, tree};
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn messages_arrive_where_they_were_sent() {
        let all = Threads::run(3, |ranks| {
            let me = ranks.rank() as u8;
            let mut seen = Vec::new();
            for round in 0..50u8 {
                let got = ranks.exchange((0..3).map(|to| vec![round, me, to]).collect()).unwrap();
                seen.push(got);
                assert_eq!(ranks.gather(&[me; 2]).unwrap(), [vec![0, 0], vec![1, 1], vec![2, 2]]);
                let at_zero = ranks.collect(vec![me]).unwrap();
                assert_eq!(at_zero.is_some(), me == 0);
            }
            seen
        });
        for (to, seen) in all.iter().enumerate() {
            for (round, got) in seen.iter().enumerate() {
                let want: Vec<Vec<u8>> = (0..3).map(|from| vec![round as u8, from, to as u8]).collect();
                assert_eq!(*got, want);
            }
        }
    }

    fn addend(i: usize, n: usize) -> Vec<f32> {
        let mut v = vec![0f32; n];
        ebm_core::Key::root(7).fill_normal(i as u64, &mut v);
        v
    }

    /// The sum of eight addends over so many ranks.
    fn summed(size: usize, n: usize) -> Vec<Sums> {
        Threads::run(size, |ranks| {
            let own = 8 / size;
            let mine = (ranks.rank() * own..(ranks.rank() + 1) * own).map(|i| addend(i, n)).collect();
            let add =
                |a: Vec<f32>, b: Vec<f32>| Ok::<_, Error>(a.iter().zip(&b).map(|(a, b)| a + b).collect());
            let mine = tree(mine, add).unwrap().unwrap();
            let numbers = mine.iter().take(3).map(|v| f64::from(*v)).collect();
            let t = Tensor::from_vec(mine, (1, n), &Device::Cpu).unwrap();
            let wide = t.to_dtype(DType::F64).unwrap();
            ranks.sum(Some(Sums { tensors: vec![t, wide], numbers })).unwrap().unwrap()
        })
    }

    fn bits(t: &Tensor) -> Vec<u64> {
        let v = t.to_dtype(DType::F64).unwrap().flatten_all().unwrap().to_vec1::<f64>().unwrap();
        v.into_iter().map(f64::to_bits).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(
            std::env::var("PROPTEST_CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(12)
        ))]
        #[test]
        fn sums_have_the_same_bits_for_1_2_4_and_8_ranks(n in 0usize..40) {
            let alone = summed(1, n).remove(0);
            let exact: Vec<f64> =
                (0..n).map(|j| (0..8).map(|i| f64::from(addend(i, n)[j])).sum()).collect();
            for (a, b) in alone.tensors[0].flatten_all().unwrap().to_vec1::<f32>().unwrap().iter().zip(&exact) {
                // Seven additions of numbers of order one in f32.
                prop_assert!((f64::from(*a) - b).abs() < 1e-5);
            }
            for size in [2, 4, 8] {
                for sums in summed(size, n) {
                    prop_assert_eq!(sums.tensors[0].dims(), [1, n]);
                    prop_assert_eq!(bits(&sums.tensors[0]), bits(&alone.tensors[0]), "{} ranks", size);
                    prop_assert_eq!(sums.tensors[1].dtype(), DType::F64);
                }
            }
        }
    }

    #[test]
    fn a_failed_rank_gives_nobody_a_sum() {
        let got = Threads::run(4, |ranks| {
            let mine = (ranks.rank() != 2).then(|| Sums { tensors: vec![], numbers: vec![1.0] });
            ranks.sum(mine).unwrap().is_none()
        });
        assert_eq!(got, [true; 4]);
    }

    #[test]
    fn other_numbers_of_addends_are_refused() {
        let got = Threads::run(2, |ranks| {
            let numbers = vec![1.0; 1 + ranks.rank()];
            ranks.sum(Some(Sums { tensors: vec![], numbers })).err().map(|e| e.to_string())
        });
        assert!(got.iter().flatten().any(|e| e.contains("different numbers")), "{got:?}");
    }

    #[test]
    fn the_first_rank_that_failed_keeps_its_error() {
        let got = Threads::run(3, |ranks| {
            let mine = match ranks.rank() {
                0 => Ok(()),
                rank => Err(Error::config("run", format!("wrong on {rank}"))),
            };
            agree(ranks.as_ref(), mine).unwrap_err().to_string()
        });
        assert_eq!(
            got,
            ["rank 1 failed: run: wrong on 1", "run: wrong on 1", "rank 1 failed: run: wrong on 1"]
        );
    }

    #[test]
    fn nobody_waits_for_a_rank_that_is_gone() {
        let got = Threads::run(3, |ranks| {
            if ranks.rank() == 1 {
                return String::new();
            }
            ranks.gather(&[]).unwrap_err().to_string()
        });
        assert!(got[0].contains("another rank has ended") && got[2] == got[0], "{got:?}");
    }
}
