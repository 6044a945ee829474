//! A persistent pool of worker threads that starts a parallel loop in about a microsecond.
//!
//! Tasks are handed out one by one, so results must not depend on which thread runs a task. A
//! worker that wakes up late is not waited for: the caller closes the loop as soon as every
//! task has been handed out and the threads that did take part have come back.

use std::any::Any;
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread::{self, JoinHandle, Thread};
use std::time::{Duration, Instant};

/// How long an idle thread looks for work before it sleeps: longer than the gap between two
/// parallel loops of one training step, shorter than anything a user notices.
const SPIN: Duration = Duration::from_micros(60);

/// The loop body as the workers see it; its argument is the worker's index.
type Body = dyn Fn(usize) + Sync;

// Layout of `Shared::gate`: loop number (48 bits), closed (1 bit), threads inside (15 bits).
const INSIDE: u64 = (1 << 15) - 1;
const CLOSED: u64 = 1 << 15;
const NEXT: u64 = 1 << 16;

struct Shared {
    gate: AtomicU64,
    /// The body of the open loop; read only by a thread counted in `gate`.
    body: Mutex<Option<&'static Body>>,
    panic: Mutex<Option<Box<dyn Any + Send>>>,
    caller: Mutex<Option<Thread>>,
    quit: AtomicBool,
    asleep: Vec<AtomicBool>,
}

/// Most threads that `EBM_THREADS` may ask for.
const MOST: usize = 1024;

/// The number of threads that the environment variable `EBM_THREADS` asks for; `None` without it.
///
/// # Errors
/// In words, if it is no number from 1 to 1024.
pub fn threads_wanted() -> Result<Option<usize>, String> {
    match std::env::var("EBM_THREADS") {
        Err(_) => Ok(None),
        Ok(text) => match text.parse() {
            Ok(n) if (1..=MOST).contains(&n) => Ok(Some(n)),
            _ => Err(format!("EBM_THREADS is `{text}`, wanted a number of threads from 1 to {MOST}")),
        },
    }
}

/// A fixed set of threads for data-parallel loops. The calling thread takes part as worker 0.
pub struct Pool {
    shared: Arc<Shared>,
    workers: Vec<JoinHandle<()>>,
    busy: Mutex<()>,
}

thread_local! {
    /// Set while this thread runs a loop body: a loop inside a loop runs on its own thread.
    static INSIDE_LOOP: Cell<bool> = const { Cell::new(false) };
}

fn lock<T>(m: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    // Nothing is left half-changed under these locks, so a poisoned one is still good.
    m.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Pool {
    /// A pool of `threads` workers, the caller included; at least 1.
    pub fn new(threads: usize) -> Pool {
        let count = threads.clamp(1, INSIDE as usize) - 1;
        let shared = Arc::new(Shared {
            gate: AtomicU64::new(CLOSED),
            body: Mutex::new(None),
            panic: Mutex::new(None),
            caller: Mutex::new(None),
            quit: AtomicBool::new(false),
            asleep: (0..count).map(|_| AtomicBool::new(false)).collect(),
        });
        let workers = (0..count)
            .filter_map(|i| {
                let shared = shared.clone();
                // A thread that cannot be started only makes the pool smaller.
                thread::Builder::new()
                    .name(format!("ebm-cpu-{}", i + 1))
                    .spawn(move || worker(&shared, i))
                    .ok()
            })
            .collect();
        Pool { shared, workers, busy: Mutex::new(()) }
    }

    /// The pool of the process: one worker per available processor, or the number in the
    /// environment variable `EBM_THREADS`.
    pub fn global() -> &'static Pool {
        static POOL: OnceLock<Pool> = OnceLock::new();
        POOL.get_or_init(|| {
            let forced = threads_wanted().ok().flatten();
            Pool::new(forced.unwrap_or_else(|| thread::available_parallelism().map_or(1, usize::from)))
        })
    }

    /// Number of workers, the caller included.
    pub fn threads(&self) -> usize {
        self.workers.len() + 1
    }

    /// Calls `task(worker, i)` once for each `i` in `0..tasks`; `worker < self.threads()` is used
    /// by one thread at a time. Inside another loop, or while another thread uses the pool, all
    /// tasks run on the calling thread. A panic in a task is passed on once all threads are done.
    pub fn run(&self, tasks: usize, task: impl Fn(usize, usize) + Sync) {
        let next = AtomicUsize::new(0);
        let body = |worker: usize| {
            loop {
                let i = next.fetch_add(1, Ordering::Relaxed);
                if i >= tasks {
                    break;
                }
                task(worker, i);
            }
        };
        if tasks <= 1 || self.workers.is_empty() || INSIDE_LOOP.get() {
            return body(0);
        }
        match self.busy.try_lock() {
            Ok(_guard) => self.open(&body),
            Err(std::sync::TryLockError::Poisoned(p)) => {
                let _guard = p.into_inner();
                self.open(&body);
            }
            Err(std::sync::TryLockError::WouldBlock) => body(0),
        }
    }

    /// [`Pool::run`] with a scratch `W` for each worker and disjoint parts of some slices for each task.
    ///
    /// `works` must hold at least one scratch; if it holds fewer than there are workers, only that
    /// many take part.
    pub fn run_split<W: Send, const N: usize>(
        &self,
        works: &mut [W],
        tasks: usize,
        slices: [Split<'_>; N],
        task: impl Fn(&mut W, usize, [&mut [f32]; N]) + Sync,
    ) {
        assert!(!works.is_empty(), "run_split needs a scratch");
        let (count, works) = (works.len(), Scratches(works.as_mut_ptr()));
        let body = |worker: usize, i: usize| {
            if worker >= count {
                unreachable!("worker {worker} of {count}");
            }
            let works = &works;
            // SAFETY: `run` lets one thread at a time use a worker index, and `works` is borrowed
            // mutably until `run` returns.
            let work = unsafe { &mut *works.0.add(worker) };
            // SAFETY: `run` hands out each `i` once and parts of different `i` are disjoint.
            let parts = std::array::from_fn(|s| unsafe { slices[s].part(i) });
            task(work, i, parts);
        };
        if count < self.threads() {
            // Fewer scratches than workers: stay on the calling thread, which is worker 0.
            (0..tasks).for_each(|i| body(0, i));
        } else {
            self.run(tasks, body);
        }
    }

    fn open(&self, body: &(dyn Fn(usize) + Sync)) {
        let shared = &*self.shared;
        // SAFETY: the reference is used only by threads counted in `gate`, which they can enter
        // only between the opening store below and the closing `fetch_or`; this function returns
        // after that count has come back to zero, hence while `body` is still borrowed.
        let body: &'static Body =
            unsafe { std::mem::transmute::<&(dyn Fn(usize) + Sync + '_), &'static Body>(body) };
        *lock(&shared.body) = Some(body);
        *lock(&shared.caller) = Some(thread::current());
        let number = shared.gate.load(Ordering::Relaxed) / NEXT + 1;
        shared.gate.store(number * NEXT, Ordering::SeqCst);
        for (flag, w) in shared.asleep.iter().zip(&self.workers) {
            if flag.load(Ordering::SeqCst) {
                w.thread().unpark();
            }
        }
        INSIDE_LOOP.set(true);
        let mine = catch_unwind(AssertUnwindSafe(|| body(0)));
        INSIDE_LOOP.set(false);
        let mut gate = shared.gate.fetch_or(CLOSED, Ordering::SeqCst);
        let start = Instant::now();
        while gate & INSIDE != 0 {
            if start.elapsed() < SPIN {
                std::hint::spin_loop();
            } else {
                // The last thread to leave unparks the caller; the timeout only bounds surprises.
                thread::park_timeout(Duration::from_millis(1));
            }
            gate = shared.gate.load(Ordering::SeqCst);
        }
        *lock(&shared.body) = None;
        let theirs = lock(&shared.panic).take();
        if let Err(p) = mine {
            resume_unwind(p);
        }
        if let Some(p) = theirs {
            resume_unwind(p);
        }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.shared.quit.store(true, Ordering::SeqCst);
        for w in self.workers.drain(..) {
            w.thread().unpark();
            // A worker cannot panic outside `catch_unwind`.
            let _ = w.join();
        }
    }
}

fn worker(shared: &Shared, index: usize) {
    INSIDE_LOOP.set(true);
    let mut done = 0u64;
    loop {
        let start = Instant::now();
        let mut spins = 0u32;
        let gate = loop {
            let gate = shared.gate.load(Ordering::SeqCst);
            if gate / NEXT != done && gate & CLOSED == 0 {
                break gate;
            }
            if shared.quit.load(Ordering::SeqCst) {
                return;
            }
            spins += 1;
            if !spins.is_multiple_of(64) || start.elapsed() < SPIN {
                std::hint::spin_loop();
                continue;
            }
            shared.asleep[index].store(true, Ordering::SeqCst);
            let gate = shared.gate.load(Ordering::SeqCst);
            // Looked at again after the flag was raised: an opening before it is seen here, one
            // after it sees the flag. `unpark` before `park` is remembered.
            if (gate / NEXT == done || gate & CLOSED != 0) && !shared.quit.load(Ordering::SeqCst) {
                thread::park();
            }
            shared.asleep[index].store(false, Ordering::SeqCst);
        };
        if shared.gate.compare_exchange(gate, gate + 1, Ordering::SeqCst, Ordering::SeqCst).is_err() {
            continue;
        }
        done = gate / NEXT;
        let body = *lock(&shared.body);
        if let Some(body) = body
            && let Err(p) = catch_unwind(AssertUnwindSafe(|| body(index + 1)))
        {
            *lock(&shared.panic) = Some(p);
        }
        // The handle is taken before leaving: afterwards the caller may have gone on.
        let caller = lock(&shared.caller).clone();
        let before = shared.gate.fetch_sub(1, Ordering::SeqCst);
        if before & INSIDE == 1
            && before & CLOSED != 0
            && let Some(c) = caller
        {
            c.unpark();
        }
    }
}

struct Scratches<W>(*mut W);
// SAFETY: used through distinct indices only (see `run_split`), so sending `W` is enough.
unsafe impl<W: Send> Sync for Scratches<W> {}

/// A slice to be cut into one part per task.
pub struct Split<'a> {
    data: *mut f32,
    len: usize,
    cuts: Cuts<'a>,
    life: std::marker::PhantomData<&'a mut [f32]>,
}

enum Cuts<'a> {
    Every(usize),
    At(&'a [usize]),
}

// SAFETY: parts are reached through `part`, whose caller promises distinct indices.
unsafe impl Sync for Split<'_> {}

impl<'a> Split<'a> {
    /// Part `i` is `size·i .. size·(i+1)`, clipped to the slice.
    pub fn every(data: &'a mut [f32], size: usize) -> Split<'a> {
        Split {
            data: data.as_mut_ptr(),
            len: data.len(),
            cuts: Cuts::Every(size),
            life: std::marker::PhantomData,
        }
    }

    /// Part `i` is `cuts[i] .. cuts[i+1]`; `cuts` must not fall, and its end must not pass the slice.
    pub fn at(data: &'a mut [f32], cuts: &'a [usize]) -> Split<'a> {
        assert!(cuts.windows(2).all(|w| w[0] <= w[1]) && cuts.last().is_none_or(|e| *e <= data.len()));
        Split {
            data: data.as_mut_ptr(),
            len: data.len(),
            cuts: Cuts::At(cuts),
            life: std::marker::PhantomData,
        }
    }

    /// # Safety
    /// No two live results may come from equal `i`.
    #[allow(clippy::mut_from_ref)]
    unsafe fn part(&self, i: usize) -> &mut [f32] {
        let (from, to) = match self.cuts {
            Cuts::Every(size) => ((size * i).min(self.len), (size * (i + 1)).min(self.len)),
            Cuts::At(cuts) => (cuts[i], cuts[i + 1]),
        };
        // SAFETY: in bounds by the clipping above or the checks of `at`; disjoint from other parts
        // because the cuts do not fall; the borrow of the slice lives as long as `self`.
        unsafe { std::slice::from_raw_parts_mut(self.data.add(from), to - from) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_task_runs_once_for_any_number_of_threads() {
        for threads in [1, 2, 3, 7] {
            let pool = Pool::new(threads);
            for tasks in [0, 1, 2, 5, 100] {
                let hits: Vec<AtomicUsize> = (0..tasks).map(|_| AtomicUsize::new(0)).collect();
                pool.run(tasks, |w, i| {
                    assert!(w < threads);
                    hits[i].fetch_add(1, Ordering::Relaxed);
                });
                assert!(hits.iter().all(|h| h.load(Ordering::Relaxed) == 1));
            }
        }
    }

    #[test]
    fn many_short_loops_neither_hang_nor_lose_tasks() {
        let pool = Pool::new(3);
        let sum = AtomicUsize::new(0);
        for _ in 0..3000 {
            pool.run(4, |_, i| {
                sum.fetch_add(i, Ordering::Relaxed);
            });
        }
        assert_eq!(sum.into_inner(), 3000 * 6);
    }

    #[test]
    fn a_panic_reaches_the_caller_and_the_pool_lives_on() {
        let pool = Pool::new(2);
        for _ in 0..20 {
            let r = catch_unwind(AssertUnwindSafe(|| {
                pool.run(8, |_, i| assert!(i != 5, "task five"));
            }));
            assert!(r.is_err());
        }
        let sum = AtomicUsize::new(0);
        pool.run(8, |_, i| {
            sum.fetch_add(i, Ordering::Relaxed);
        });
        assert_eq!(sum.into_inner(), 28);
    }

    #[test]
    fn nested_and_concurrent_loops_run_on_their_own_thread() {
        let pool = Pool::new(2);
        let sum = AtomicUsize::new(0);
        thread::scope(|s| {
            for _ in 0..3 {
                s.spawn(|| {
                    pool.run(4, |_, _| {
                        pool.run(5, |_, _| {
                            sum.fetch_add(1, Ordering::Relaxed);
                        });
                    });
                });
            }
        });
        assert_eq!(sum.into_inner(), 3 * 4 * 5);
    }

    #[test]
    fn parts_are_disjoint_and_cover_the_slice() {
        let pool = Pool::new(2);
        let (mut a, mut b) = (vec![0f32; 10], vec![0f32; 7]);
        let mut works = vec![(); 2];
        pool.run_split(
            &mut works,
            4,
            [Split::every(&mut a, 3), Split::at(&mut b, &[0, 2, 2, 6, 7])],
            |_, i, [x, y]| {
                x.iter_mut().for_each(|v| *v += i as f32);
                y.iter_mut().for_each(|v| *v += 1.0 + i as f32);
            },
        );
        assert_eq!(a, [0., 0., 0., 1., 1., 1., 2., 2., 2., 3.]);
        assert_eq!(b, [1., 1., 3., 3., 3., 3., 4.]);
    }
}
