//! Ranks over TCP: processes of one or many hosts, with nothing to install.

mod hello;
mod join;
mod wire;

use std::io::Write;
use std::net::{Shutdown, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError, Weak};
use std::time::{Duration, Instant};

use ebm_core::{Collective, Error, Result};

use hello::HELLO;
use join::Joining;
use wire::{ALIVE, ENDS, Patience, lost, receive, send};

/// Messages up to this length fit into the buffers of any connection, so they are written before any is read.
const SHORT: usize = 4096;

/// Connections by rank; none to itself.
type Peers = Mutex<Vec<Option<TcpStream>>>;

/// A group of processes, each connected to each. Rank 0 is where all others look for it.
///
/// Nothing is encrypted: it is for networks whose users do not listen to each other. Who does not know the job's token is
/// sent away; a message longer than [`Collective::bound`] allows ends the job, and so does a rank that gives no sign of life
/// for two minutes (its program gives one every ten seconds, however long it computes).
#[derive(Debug)]
pub struct Tcp {
    rank: usize,
    size: usize,
    peers: Arc<Peers>,
    longest: AtomicU64,
}

fn failed(what: impl Into<String>) -> Error {
    Error::plugin("ranks", what.into())
}

impl Tcp {
    /// Joins `size` processes, of which this is number `rank`; rank 0 listens at `host`:`port`, the others connect there with the
    /// same `token`. Gives up after `patience`.
    ///
    /// # Errors
    /// If the others do not come, two have the same number, or `rank` is not below `size`.
    pub fn join(
        rank: usize,
        size: usize,
        host: &str,
        port: u16,
        token: &str,
        patience: Duration,
    ) -> Result<Tcp> {
        Tcp::join_with(rank, size, (host, port), token, patience, Patience::default())
    }

    fn join_with(
        rank: usize,
        size: usize,
        (host, port): (&str, u16),
        token: &str,
        patience: Duration,
        later: Patience,
    ) -> Result<Tcp> {
        if rank >= size {
            return Err(failed(format!("this is rank {rank} of {size}; ranks are counted from 0")));
        }
        let peers = (0..size).map(|_| None).collect();
        let mut job = Joining { rank, size, until: Instant::now() + patience, peers };
        match rank {
            0 => job.first(host, port, token.as_bytes())?,
            _ => job.other(host, port, token.as_bytes())?,
        }
        let io = |e: std::io::Error| failed(format!("rank {rank} of {size}: {e}"));
        for peer in job.peers.iter().flatten() {
            peer.set_nodelay(true).map_err(io)?;
            peer.set_read_timeout(Some(later.silence)).map_err(io)?;
            peer.set_write_timeout(Some(later.silence)).map_err(io)?;
        }
        let peers = Arc::new(Mutex::new(job.peers));
        let group = Arc::downgrade(&peers);
        std::thread::spawn(move || give_signs_of_life(&group, later.alive));
        Ok(Tcp { rank, size, peers, longest: AtomicU64::new(u64::MAX) })
    }

    fn peers(&self) -> MutexGuard<'_, Vec<Option<TcpStream>>> {
        self.peers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Tells the others now and then that this process is there, while nothing else is sent, until the group is dropped.
fn give_signs_of_life(group: &Weak<Peers>, every: Duration) {
    loop {
        std::thread::sleep(every);
        let Some(peers) = group.upgrade() else { return };
        let open = match peers.try_lock() {
            Ok(open) => open,
            Err(TryLockError::Poisoned(open)) => open.into_inner(),
            // Messages are on their way: sign enough.
            Err(TryLockError::WouldBlock) => continue,
        };
        // Who is gone is noticed by the next message.
        open.iter().flatten().for_each(|mut peer| _ = peer.write_all(&ALIVE.to_le_bytes()));
    }
}

impl Collective for Tcp {
    fn rank(&self) -> usize {
        self.rank
    }

    fn size(&self) -> usize {
        self.size
    }

    fn exchange(&self, mut outgoing: Vec<Vec<u8>>) -> Result<Vec<Vec<u8>>> {
        let (rank, size, longest) = (self.rank, self.size, self.longest.load(Ordering::Relaxed));
        if outgoing.len() != size {
            return Err(failed(format!("{} messages for {size} ranks", outgoing.len())));
        }
        let peers = self.peers();
        let peer = |r: usize| peers[r].as_ref().ok_or_else(|| failed(format!("rank {r} is not connected")));
        let mut incoming = vec![Vec::new(); size];
        incoming[rank] = std::mem::take(&mut outgoing[rank]);
        // Every rank sends to the next first and reads from the one before first: of those that wait, the one that is behind
        // all others finds its message.
        let write = || {
            (1..size)
                .map(|k| (rank + k) % size)
                .try_for_each(|to| send(peer(to)?, &outgoing[to]).map_err(|e| lost(to, size, &e)))
        };
        let read = |incoming: &mut Vec<Vec<u8>>| {
            (1..size).map(|k| (rank + size - k) % size).try_for_each(|from| {
                incoming[from] = receive(peer(from)?, from, size, longest)?;
                Ok(())
            })
        };
        if outgoing.iter().all(|m| m.len() <= SHORT) {
            // A rank that ended the job says so in what it sent; that it does not read is no news.
            let (written, got) = (write(), read(&mut incoming));
            got.and(written)?;
            return Ok(incoming);
        }
        std::thread::scope(|scope| {
            let writer = scope.spawn(write);
            let got: Result<()> = read(&mut incoming);
            if got.is_err() {
                // The writer may wait for a rank that will never read.
                peers.iter().flatten().for_each(|p| _ = p.shutdown(Shutdown::Both));
            }
            let written = writer.join().unwrap_or_else(|_| Err(failed("sending panicked")));
            got.and(written)
        })?;
        Ok(incoming)
    }

    fn gather(&self, mine: &[u8]) -> Result<Vec<Vec<u8>>> {
        self.exchange(vec![mine.to_vec(); self.size])
    }

    fn collect(&self, mine: Vec<u8>) -> Result<Option<Vec<Vec<u8>>>> {
        let mut outgoing = vec![Vec::new(); self.size];
        outgoing[0] = mine;
        let all = self.exchange(outgoing)?;
        Ok((self.rank == 0).then_some(all))
    }

    fn bound(&self, longest: u64) {
        self.longest.store(longest, Ordering::Relaxed);
    }

    fn abort(&self, code: i32) -> ! {
        // Another thread may wait for a message and hold the lock; connections end with the process in any case.
        if let Ok(peers) = self.peers.try_lock() {
            for mut peer in peers.iter().flatten() {
                _ = peer.set_write_timeout(Some(HELLO)).and_then(|()| peer.write_all(&ENDS.to_le_bytes()));
            }
        }
        std::process::exit(code)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::net::TcpListener;

    use candle_core::{Device, Tensor};
    use ebm_core::Sums;

    use super::*;
    use crate::Threads;

    fn free_port() -> u16 {
        TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port()
    }

    /// Runs `body` on each of `size` ranks that find each other on this host.
    fn run<T: Send>(size: usize, body: impl Fn(Tcp) -> T + Sync) -> Vec<T> {
        let (port, body) = (free_port(), &body);
        std::thread::scope(|scope| {
            let start = |rank| {
                scope.spawn(move || {
                    // The first comes last: the others wait for it.
                    std::thread::sleep(Duration::from_millis(if rank == 0 { 60 } else { 0 }));
                    body(Tcp::join(rank, size, "127.0.0.1", port, "t", Duration::from_secs(30)).unwrap())
                })
            };
            let all: Vec<_> = (0..size).map(start).collect();
            all.into_iter().map(|t| t.join().unwrap()).collect()
        })
    }

    #[test]
    fn messages_of_any_length_arrive_where_they_were_sent() {
        // Longer than any connection buffers, none, and just at the border.
        let lengths = [0, 1, SHORT, SHORT + 1, 3 << 20];
        run(4, |ranks| {
            let me = ranks.rank();
            for (round, n) in lengths.iter().enumerate() {
                let message = |from: usize, to: usize| vec![(round + 16 * from + 64 * to) as u8; n + from];
                let got = ranks.exchange((0..4).map(|to| message(me, to)).collect()).unwrap();
                assert!(got.into_iter().enumerate().all(|(from, m)| m == message(from, me)));
                let all = ranks.gather(&message(me, 0)).unwrap();
                assert!(all.into_iter().enumerate().all(|(from, m)| m == message(from, 0)));
                let collected = ranks.collect(message(me, 1)).unwrap();
                assert_eq!(collected.is_some(), me == 0);
            }
            assert!(ranks.exchange(vec![vec![]]).is_err());
        });
    }

    #[test]
    fn sums_have_the_bits_of_threads() {
        let mine = |rank: usize| {
            let mut v = vec![0f32; 5000];
            ebm_core::Key::root(3).fill_normal(rank as u64, &mut v);
            let numbers = vec![f64::from(v[0])];
            Sums { tensors: vec![Tensor::from_vec(v, 5000, &Device::Cpu).unwrap()], numbers }
        };
        let bits = |sums: Option<Sums>| {
            let sums = sums.unwrap();
            let v = sums.tensors[0].to_vec1::<f32>().unwrap();
            (v.into_iter().map(f32::to_bits).collect::<Vec<_>>(), sums.numbers[0].to_bits())
        };
        let want = Threads::run(3, |r| bits(r.sum(Some(mine(r.rank()))).unwrap()));
        assert_eq!(run(3, |r| bits(r.sum(Some(mine(r.rank()))).unwrap())), want);
        let none = run(3, |r| r.sum((r.rank() != 1).then(|| mine(0))).unwrap().is_none());
        assert_eq!(none, [true; 3]);
    }

    #[test]
    fn nobody_waits_for_a_rank_that_is_gone() {
        for n in [1, 8 << 20] {
            let got = run(3, |ranks| {
                if ranks.rank() == 1 {
                    return String::new();
                }
                ranks.gather(&vec![0; n]).unwrap_err().to_string()
            });
            // One may hear of it from the other, who gave up first.
            assert!(got[0].contains("of 3 is gone") && got[2].contains("of 3 is gone"), "{got:?}");
            assert!(got.iter().any(|e| e.contains("rank 1 of 3")), "{got:?}");
        }
    }

    #[test]
    fn strangers_are_sent_away_and_who_is_missing_is_named() {
        let port = free_port();
        let short = Duration::from_millis(400);
        std::thread::scope(|scope| {
            let first =
                scope.spawn(|| Tcp::join(0, 3, "127.0.0.1", port, "t", short).unwrap_err().to_string());
            let second =
                scope.spawn(|| Tcp::join(1, 3, "127.0.0.1", port, "t", short).unwrap_err().to_string());
            // Connects and leaves without a word, or with other words.
            let stranger = scope.spawn(|| {
                for words in [&b""[..], b"GET / HTTP/1.1\r\n\r\n"] {
                    std::thread::sleep(Duration::from_millis(50));
                    _ = TcpStream::connect(("127.0.0.1", port)).and_then(|mut s| s.write_all(words));
                }
            });
            stranger.join().unwrap();
            let (first, second) = (first.join().unwrap(), second.join().unwrap());
            assert!(first.contains("waited in vain for rank 2"), "{first}");
            assert!(second.contains("rank 0 of 3 is gone"), "{second}");
        });
        let alone = Tcp::join(1, 2, "127.0.0.1", free_port(), "t", short).unwrap_err().to_string();
        assert!(alone.contains("cannot reach rank 0 at 127.0.0.1"), "{alone}");
        assert!(Tcp::join(2, 2, "127.0.0.1", port, "t", short).unwrap_err().to_string().contains("from 0"));
    }

    #[test]
    fn ranks_of_other_jobs_and_two_of_one_number_are_refused() {
        for (rank, size, why) in [(1, 4, "another job"), (2, 3, "came twice")] {
            let port = free_port();
            std::thread::scope(|scope| {
                let patience = Duration::from_millis(400);
                let first = scope.spawn(move || Tcp::join(0, 3, "127.0.0.1", port, "t", patience));
                let others = [(2, 3), (rank, size)];
                for (r, n) in others {
                    scope.spawn(move || Tcp::join(r, n, "127.0.0.1", port, "t", patience).is_err());
                }
                let text = first.join().unwrap().unwrap_err().to_string();
                assert!(text.contains(why), "{text}");
            });
        }
    }

    #[test]
    fn nobody_at_the_port_delays_a_job_or_ends_it() {
        let port = free_port();
        let began = Instant::now();
        std::thread::scope(|scope| {
            let join = |rank, token: &'static str| {
                scope.spawn(move || Tcp::join(rank, 2, "127.0.0.1", port, token, Duration::from_secs(30)))
            };
            let first = join(0, "right");
            // Silent ones, those who speak of this protocol without its secret, and a rank of another job.
            let hello = |size: u32, rank: u32| {
                let said =
                    [b"ebm-rnk2".to_vec(), size.to_le_bytes().into(), rank.to_le_bytes().into()].concat();
                [said, vec![7; 34]].concat()
            };
            let said = [vec![], b"ebm-rnk1".to_vec(), hello(5, 1), hello(2, 1), hello(2, 0), hello(2, 9)];
            let strangers: Vec<TcpStream> = std::iter::repeat_n(said, 8)
                .flatten()
                .map(|words| {
                    let mut stranger = loop {
                        match TcpStream::connect(("127.0.0.1", port)) {
                            Ok(stream) => break stream,
                            Err(_) => std::thread::sleep(Duration::from_millis(5)),
                        }
                    };
                    stranger.write_all(&words).unwrap();
                    stranger
                })
                .collect();
            let other =
                scope.spawn(move || Tcp::join(1, 2, "127.0.0.1", port, "wrong", Duration::from_millis(300)));
            assert!(other.join().unwrap().unwrap_err().to_string().contains("EBM_TOKEN"));
            let second = join(1, "right");
            let (first, second) = (first.join().unwrap().unwrap(), second.join().unwrap().unwrap());
            assert_eq!((first.rank, second.rank), (0, 1));
            drop(strangers);
        });
        assert!(began.elapsed() < HELLO, "the silent ones were waited for");
    }

    #[test]
    fn a_message_longer_than_agreed_is_not_taken() {
        let got = run(2, |ranks| {
            ranks.bound(1000);
            assert!(ranks.gather(&[1; 1000]).is_ok());
            ranks.gather(&[1; 1001]).map_err(|e| e.to_string())
        });
        assert!(
            got.iter().any(|e| e.as_ref().is_err_and(|e| e.contains("1001 bytes, wanted at most 1000"))),
            "{got:?}"
        );
    }

    #[test]
    fn a_silent_rank_is_given_up_and_one_that_computes_is_waited_for() {
        let meet = |alive: Duration| {
            let port = free_port();
            let later = Patience { silence: Duration::from_millis(300), alive };
            let join = move |rank| {
                Tcp::join_with(rank, 2, ("127.0.0.1", port), "t", Duration::from_secs(30), later).unwrap()
            };
            std::thread::scope(|scope| {
                let waits = scope.spawn(move || join(0).gather(b"here").map_err(|e| e.to_string()));
                scope.spawn(move || {
                    let late = join(1);
                    std::thread::sleep(Duration::from_millis(1200));
                    late.gather(b"late")
                });
                waits.join().unwrap()
            })
        };
        assert_eq!(meet(Duration::from_millis(50)).unwrap(), [b"here", b"late"]);
        let silent = meet(Duration::from_secs(3600)).unwrap_err();
        assert!(silent.contains("rank 1 of 2 gives no sign of life"), "{silent}");
    }
}
