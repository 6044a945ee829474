//! Ranks over TCP: processes of one or many hosts, with nothing to install.

use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpListener, TcpStream, ToSocketAddrs};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use ebm_core::{Collective, Error, Result};

/// What a connection of ours begins with.
const GREETING: &[u8; 8] = b"ebm-rnk1";

/// In place of a message's length: the sender ends the job.
const ENDS: u64 = u64::MAX;

/// Messages up to this length fit into the buffers of any connection, so they are written before any is read.
const SHORT: usize = 4096;

/// Pause between two tries.
const TICK: Duration = Duration::from_millis(20);

/// Time for a rank that has connected to say who it is.
const HELLO: Duration = Duration::from_secs(10);

/// A group of processes, each connected to each. Rank 0 is where all others look for it.
///
/// Nothing is encrypted and nobody is asked for a password: it is for networks whose users trust each other, as MPI is.
#[derive(Debug)]
pub struct Tcp {
    rank: usize,
    size: usize,
    /// By rank; none to itself.
    peers: Mutex<Vec<Option<TcpStream>>>,
}

fn failed(what: impl Into<String>) -> Error {
    Error::plugin("ranks", what.into())
}

/// An error of the connection to a rank.
fn lost(rank: usize, size: usize, e: &std::io::Error) -> Error {
    let gone = matches!(
        e.kind(),
        ErrorKind::UnexpectedEof
            | ErrorKind::ConnectionReset
            | ErrorKind::ConnectionAborted
            | ErrorKind::BrokenPipe
    );
    failed(if gone {
        format!("rank {rank} of {size} is gone")
    } else {
        format!("rank {rank} of {size}: {e}")
    })
}

/// What a rank says first: the number of ranks it knows of, its own, and the port at which it can be found.
struct Hello {
    size: u32,
    rank: u32,
    port: u16,
}

impl Hello {
    fn send(&self, mut to: &TcpStream) -> std::io::Result<()> {
        let mut bytes = GREETING.to_vec();
        bytes.extend(self.size.to_le_bytes());
        bytes.extend(self.rank.to_le_bytes());
        bytes.extend(self.port.to_le_bytes());
        to.write_all(&bytes)
    }

    /// `None` from anybody else who may have connected.
    fn receive(mut from: &TcpStream) -> Option<Hello> {
        from.set_read_timeout(Some(HELLO)).ok()?;
        let (mut greeting, mut size, mut rank, mut port) = ([0; 8], [0; 4], [0; 4], [0; 2]);
        from.read_exact(&mut greeting).ok()?;
        if &greeting != GREETING {
            return None;
        }
        for part in [&mut size[..], &mut rank[..], &mut port[..]] {
            from.read_exact(part).ok()?;
        }
        from.set_read_timeout(None).ok()?;
        let (size, rank, port) =
            (u32::from_le_bytes(size), u32::from_le_bytes(rank), u16::from_le_bytes(port));
        Some(Hello { size, rank, port })
    }
}

/// A job that is being put together.
struct Joining {
    rank: usize,
    size: usize,
    until: Instant,
    peers: Vec<Option<TcpStream>>,
}

impl Joining {
    /// Takes connections until all of `wanted` have come; returns where each can be found.
    fn accept(
        &mut self,
        at: &TcpListener,
        wanted: std::ops::Range<usize>,
    ) -> Result<Vec<(usize, SocketAddr)>> {
        let io = |e: std::io::Error| failed(format!("rank {} cannot be connected to: {e}", self.rank));
        at.set_nonblocking(true).map_err(io)?;
        let mut found = Vec::new();
        while found.len() < wanted.len() {
            let (stream, from) = match at.accept() {
                Ok(come) => come,
                Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {
                    if Instant::now() > self.until {
                        let missing: Vec<String> = wanted
                            .clone()
                            .filter(|r| self.peers[*r].is_none())
                            .map(|r| r.to_string())
                            .collect();
                        return Err(failed(format!(
                            "rank {} of {} waited in vain for rank {}",
                            self.rank,
                            self.size,
                            missing.join(", ")
                        )));
                    }
                    std::thread::sleep(TICK);
                    continue;
                }
                Err(e) => return Err(io(e)),
            };
            stream.set_nonblocking(false).map_err(io)?;
            // Whoever else knocks is sent away.
            let Some(hello) = Hello::receive(&stream) else { continue };
            let (rank, size) = (hello.rank as usize, hello.size as usize);
            if size != self.size {
                return Err(failed(format!(
                    "a rank of another job, of {size} ranks, came to one of {}",
                    self.size
                )));
            }
            if !wanted.contains(&rank) || self.peers[rank].is_some() {
                return Err(failed(format!(
                    "rank {rank} of {size} came twice; give each process its own number"
                )));
            }
            found.push((rank, SocketAddr::new(from.ip(), hello.port)));
            self.peers[rank] = Some(stream);
        }
        Ok(found)
    }

    /// Connects to a rank, again and again until there is time.
    fn connect(&mut self, rank: usize, to: impl ToSocketAddrs, named: &str, port: u16) -> Result<()> {
        let hello = Hello { size: self.size as u32, rank: self.rank as u32, port };
        loop {
            let said = TcpStream::connect(&to).and_then(|s| hello.send(&s).map(|()| s));
            match said {
                Ok(stream) => {
                    self.peers[rank] = Some(stream);
                    return Ok(());
                }
                Err(e) if Instant::now() > self.until => {
                    let me = self.rank;
                    return Err(failed(format!("rank {me} cannot reach rank {rank} at {named}: {e}")));
                }
                Err(_) => std::thread::sleep(TICK),
            }
        }
    }
}

impl Tcp {
    /// Joins `size` processes, of which this is number `rank`; rank 0 listens at `host`:`port`, the others connect there. Gives up
    /// after `patience`.
    ///
    /// # Errors
    /// If the others do not come, two have the same number, or `rank` is not below `size`.
    pub fn join(rank: usize, size: usize, host: &str, port: u16, patience: Duration) -> Result<Tcp> {
        if rank >= size {
            return Err(failed(format!("this is rank {rank} of {size}; ranks are counted from 0")));
        }
        let place = format!("{host}:{port}");
        let mut job = Joining {
            rank,
            size,
            until: Instant::now() + patience,
            peers: (0..size).map(|_| None).collect(),
        };
        let io = |e: std::io::Error| failed(format!("rank {rank} of {size}: {e}"));
        if rank == 0 {
            let listener = TcpListener::bind(("0.0.0.0", port)).map_err(|e| {
                failed(format!(
                    "rank 0 cannot listen at port {port}: {e}; set EBM_PORT to a free one on all ranks"
                ))
            })?;
            let mut found = job.accept(&listener, 1..size)?;
            found.sort();
            let table: Vec<String> = found.iter().map(|(_, at)| at.to_string()).collect();
            let table = table.join(" ");
            for (r, peer) in job.peers.iter().enumerate() {
                if let Some(peer) = peer {
                    send(peer, table.as_bytes()).map_err(|e| lost(r, size, &e))?;
                }
            }
        } else {
            let listener = TcpListener::bind(("0.0.0.0", 0)).map_err(io)?;
            let own = listener.local_addr().map_err(io)?.port();
            job.connect(0, (host, port), &place, own)?;
            let first = job.peers[0].as_ref().ok_or_else(|| failed("rank 0 is gone"))?;
            let table = receive(first, 0, size)?;
            let there = first.peer_addr().map_err(io)?.ip();
            let table = String::from_utf8_lossy(&table).into_owned();
            let table: Vec<SocketAddr> = table.split(' ').filter_map(|at| at.parse().ok()).collect();
            if table.len() + 1 != size {
                return Err(failed("rank 0 does not know all ranks; do all run the same program?"));
            }
            // Those before this one wait for it; those after it are waited for.
            for (r, at) in (1..rank).zip(&table) {
                let at = SocketAddr::new(seen_from_here(at.ip(), there), at.port());
                job.connect(r, at, &at.to_string(), 0)?;
            }
            job.accept(&listener, rank + 1..size)?;
        }
        for peer in job.peers.iter().flatten() {
            peer.set_nodelay(true).map_err(io)?;
        }
        Ok(Tcp { rank, size, peers: Mutex::new(job.peers) })
    }

    fn peers(&self) -> MutexGuard<'_, Vec<Option<TcpStream>>> {
        self.peers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A rank on the host of rank 0 may be known there by an address that means another host elsewhere.
fn seen_from_here(rank: IpAddr, first: IpAddr) -> IpAddr {
    if rank.is_loopback() { first } else { rank }
}

fn send(mut to: &TcpStream, bytes: &[u8]) -> std::io::Result<()> {
    to.write_all(&(bytes.len() as u64).to_le_bytes())?;
    to.write_all(bytes)
}

fn receive(mut from: &TcpStream, rank: usize, size: usize) -> Result<Vec<u8>> {
    let mut head = [0; 8];
    from.read_exact(&mut head).map_err(|e| lost(rank, size, &e))?;
    let length = u64::from_le_bytes(head);
    if length == ENDS {
        return Err(Error::elsewhere(rank, b"it has ended the job"));
    }
    let mut bytes = Vec::new();
    let got = from.take(length).read_to_end(&mut bytes).map_err(|e| lost(rank, size, &e))?;
    if got as u64 != length {
        return Err(lost(rank, size, &ErrorKind::UnexpectedEof.into()));
    }
    Ok(bytes)
}

impl Collective for Tcp {
    fn rank(&self) -> usize {
        self.rank
    }

    fn size(&self) -> usize {
        self.size
    }

    fn exchange(&self, mut outgoing: Vec<Vec<u8>>) -> Result<Vec<Vec<u8>>> {
        let (rank, size) = (self.rank, self.size);
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
                incoming[from] = receive(peer(from)?, from, size)?;
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
                    body(Tcp::join(rank, size, "127.0.0.1", port, Duration::from_secs(30)).unwrap())
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
            let first = scope.spawn(|| Tcp::join(0, 3, "127.0.0.1", port, short).unwrap_err().to_string());
            let second = scope.spawn(|| Tcp::join(1, 3, "127.0.0.1", port, short).unwrap_err().to_string());
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
        let alone = Tcp::join(1, 2, "127.0.0.1", free_port(), short).unwrap_err().to_string();
        assert!(alone.contains("cannot reach rank 0 at 127.0.0.1"), "{alone}");
        assert!(Tcp::join(2, 2, "127.0.0.1", port, short).unwrap_err().to_string().contains("from 0"));
    }

    #[test]
    fn ranks_of_other_jobs_and_two_of_one_number_are_refused() {
        for (rank, size, why) in [(1, 4, "another job"), (2, 3, "came twice")] {
            let port = free_port();
            std::thread::scope(|scope| {
                let patience = Duration::from_millis(400);
                let first = scope.spawn(move || Tcp::join(0, 3, "127.0.0.1", port, patience));
                let others = [(2, 3), (rank, size)];
                for (r, n) in others {
                    scope.spawn(move || Tcp::join(r, n, "127.0.0.1", port, patience).is_err());
                }
                let text = first.join().unwrap().unwrap_err().to_string();
                assert!(text.contains(why), "{text}");
            });
        }
    }
}
