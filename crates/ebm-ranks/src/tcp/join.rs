//! Putting a job together: who listens where, who has come, who is missing.

use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, ToSocketAddrs};
use std::ops::Range;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use ebm_core::Result;

use super::failed;
use super::hello::{Hello, Refused, Secret, answer, ask, introduce};
use super::wire::{lost, receive, send};

/// Pause between two tries.
const TICK: Duration = Duration::from_millis(20);

/// Pause after one who listens did not believe the proof: perhaps an earlier job that is about to end.
const LATER: Duration = Duration::from_millis(500);

/// Most who may be about to say who they are: as many strangers do not keep a rank from coming.
const AT_THE_DOOR: usize = 512;

/// A job that is being put together.
pub(super) struct Joining {
    pub rank: usize,
    pub size: usize,
    pub until: Instant,
    pub peers: Vec<Option<TcpStream>>,
}

impl Joining {
    /// All of the job, for rank 0, which listens at `host`:`port`.
    pub fn first(&mut self, host: &str, port: u16, token: &[u8]) -> Result<()> {
        let size = self.size;
        let listener = listen(host, port).map_err(|e| {
            failed(format!(
                "rank 0 cannot listen at {host}:{port}: {e}; set EBM_PORT to a free one on all ranks"
            ))
        })?;
        let mut found = self.accept(listener, 1..size, &Secret::of(token))?;
        found.sort();
        // What the others show each other was known to nobody before.
        let (_, among) = Secret::new()?;
        let table: Vec<String> = found.iter().map(|(_, at)| at.to_string()).collect();
        let message = [&among[..], table.join(" ").as_bytes()].concat();
        for (r, peer) in self.peers.iter().enumerate() {
            if let Some(peer) = peer {
                send(peer, &message).map_err(|e| lost(r, size, &e))?;
            }
        }
        Ok(())
    }

    /// All of the job, for the other ranks.
    pub fn other(&mut self, host: &str, port: u16, token: &[u8]) -> Result<()> {
        let (rank, size) = (self.rank, self.size);
        let io = |e: std::io::Error| failed(format!("rank {rank} of {size}: {e}"));
        let place = format!("{host}:{port}");
        let listener = self.connect(0, (host, port), &place, &Secret::of(token), true)?;
        let listener = listener.ok_or_else(|| failed("rank 0 is gone"))?;
        let first = self.peers[0].as_ref().ok_or_else(|| failed("rank 0 is gone"))?;
        // It answers when all have come.
        let left = self.until.saturating_duration_since(Instant::now());
        first.set_read_timeout(Some(left.max(TICK) + LATER)).map_err(io)?;
        // An address of IPv6 with its scope and port takes at most 64 letters.
        let message = receive(first, 0, size, 32 + 64 * size as u64)?;
        let there = first.peer_addr().map_err(io)?.ip();
        let (among, table) = message.split_at_checked(32).ok_or_else(|| failed("rank 0 says too little"))?;
        let (among, table) = (Secret::of(among), String::from_utf8_lossy(table).into_owned());
        let table: Vec<SocketAddr> = table.split(' ').filter_map(|at| at.parse().ok()).collect();
        if table.len() + 1 != size {
            return Err(failed("rank 0 does not know all ranks; do all run the same program?"));
        }
        // Those before this one wait for it; those after it are waited for.
        for (r, at) in (1..rank).zip(&table) {
            let at = SocketAddr::new(seen_from_here(at.ip(), there), at.port());
            self.connect(r, at, &at.to_string(), &among, false)?;
        }
        self.accept(listener, rank + 1..size, &among)?;
        Ok(())
    }

    /// Takes connections until all of `wanted` have come; returns where each can be found.
    fn accept(
        &mut self,
        at: TcpListener,
        wanted: Range<usize>,
        secret: &Secret,
    ) -> Result<Vec<(usize, SocketAddr)>> {
        let rank = self.rank;
        let io = move |e: std::io::Error| failed(format!("rank {rank} cannot be connected to: {e}"));
        at.set_nonblocking(true).map_err(io)?;
        let mut found = Vec::new();
        // Each says who it is in a thread of its own, so that nobody who is slow or silent keeps others waiting.
        let (told, hears) = mpsc::channel::<Option<(Hello, TcpStream, SocketAddr)>>();
        let mut talking = 0;
        while found.len() < wanted.len() {
            match at.accept() {
                // Too many: this one is sent away unheard. A rank comes again.
                Ok(_) if talking >= AT_THE_DOOR => {}
                Ok((stream, from)) => {
                    stream.set_nonblocking(false).map_err(io)?;
                    let (told, secret) = (told.clone(), secret.clone());
                    talking += 1;
                    std::thread::spawn(move || {
                        let hello = ask(&stream, &secret);
                        if hello.is_none() {
                            tracing::warn!("{from} came to the port of the ranks and is not of this job");
                        }
                        _ = told.send(hello.map(|h| (h, stream, from)));
                    });
                }
                Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {
                    std::thread::sleep(TICK);
                }
                // A stranger who hung up before being let in, or too many open files for a moment.
                Err(e) if e.kind() == ErrorKind::ConnectionAborted || talking > 0 => std::thread::sleep(TICK),
                Err(e) => return Err(io(e)),
            }
            while let Ok(heard) = hears.try_recv() {
                talking -= 1;
                let Some((hello, stream, from)) = heard else { continue };
                let place = SocketAddr::new(from.ip(), hello.port);
                found.push((self.take(hello, stream, &wanted)?, place));
            }
            if found.len() < wanted.len() && Instant::now() > self.until {
                let missing = wanted.clone().filter(|r| self.peers[*r].is_none());
                let missing: Vec<String> = missing.map(|r| r.to_string()).collect();
                let missing = missing.join(", ");
                return Err(failed(format!(
                    "rank {rank} of {} waited in vain for rank {missing}",
                    self.size
                )));
            }
        }
        Ok(found)
    }

    /// Takes one who has proved to be of this job. That it does not fit is the job's own fault, and ends it.
    fn take(&mut self, hello: Hello, stream: TcpStream, wanted: &Range<usize>) -> Result<usize> {
        let (rank, size) = (hello.rank as usize, hello.size as usize);
        let unfit = if size != self.size {
            Some(format!("a rank of another job, of {size} ranks, came to one of {}", self.size))
        } else if !wanted.contains(&rank) || self.peers[rank].is_some() {
            Some(format!("rank {rank} of {size} came twice; give each process its own number"))
        } else {
            None
        };
        let said = answer(&stream, unfit.as_deref().map_or(Ok(()), Err));
        if let Some(why) = unfit {
            return Err(failed(why));
        }
        said.map_err(|e| lost(rank, size, &e))?;
        self.peers[rank] = Some(stream);
        Ok(rank)
    }

    /// Connects to a rank, again and again until there is no time left; with `found_at`, listens where that one sees it.
    fn connect(
        &mut self,
        rank: usize,
        to: impl ToSocketAddrs,
        named: &str,
        secret: &Secret,
        found_at: bool,
    ) -> Result<Option<TcpListener>> {
        let (size, me) = (self.size, self.rank);
        let once = || -> Result<(TcpStream, Option<TcpListener>), Refused> {
            let stream = TcpStream::connect(&to)?;
            let listener =
                if found_at { Some(TcpListener::bind((stream.local_addr()?.ip(), 0))?) } else { None };
            let port = listener.as_ref().map_or(Ok(0), |l| l.local_addr().map(|a| a.port()))?;
            introduce(&stream, Hello { size: size as u32, rank: me as u32, port }, secret)?;
            Ok((stream, listener))
        };
        loop {
            let (why, pause) = match once() {
                Ok((stream, listener)) => {
                    self.peers[rank] = Some(stream);
                    return Ok(listener);
                }
                Err(Refused::Words(why)) => return Err(failed(format!("rank {rank} says: {why}"))),
                Err(Refused::Io(e)) => (e.to_string(), TICK),
                Err(Refused::Proof) => {
                    ("it is of another job; is EBM_TOKEN the same on all ranks?".into(), LATER)
                }
            };
            if Instant::now() > self.until {
                return Err(failed(format!("rank {me} cannot reach rank {rank} at {named}: {why}")));
            }
            std::thread::sleep(pause);
        }
    }
}

/// Listens at the interface that `host` names, on this host.
fn listen(host: &str, port: u16) -> std::io::Result<TcpListener> {
    let by_number = host.parse::<IpAddr>().is_ok() || host == "localhost";
    let all: Vec<SocketAddr> = (host, port).to_socket_addrs()?.collect();
    let any = |at: &SocketAddr| match at {
        SocketAddr::V4(_) => SocketAddr::from((Ipv4Addr::UNSPECIFIED, port)),
        SocketAddr::V6(_) => SocketAddr::from((Ipv6Addr::UNSPECIFIED, port)),
    };
    // Debian gives a host's own name an address that other hosts cannot reach.
    let reach = |at: &SocketAddr| if at.ip().is_loopback() && !by_number { any(at) } else { *at };
    match TcpListener::bind(&all.iter().map(reach).collect::<Vec<_>>()[..]) {
        // The address of a service or a gateway in front of this host.
        Err(e) if e.kind() == ErrorKind::AddrNotAvailable => {
            tracing::warn!("{host} is no address of this host: rank 0 listens at all of its addresses");
            TcpListener::bind(&all.iter().map(any).collect::<Vec<_>>()[..])
        }
        other => other,
    }
}

/// A rank on the host of rank 0 may be known there by an address that means another host elsewhere.
fn seen_from_here(rank: IpAddr, first: IpAddr) -> IpAddr {
    if rank.is_loopback() { first } else { rank }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_first_rank_listens_where_it_was_told_to_and_nowhere_else() {
        for host in ["127.0.0.1", "localhost"] {
            assert!(listen(host, 0).unwrap().local_addr().unwrap().ip().is_loopback());
        }
        assert!(listen("0.0.0.0", 0).unwrap().local_addr().unwrap().ip().is_unspecified());
        // An address for examples, of no host: what stands for this one there lets others in.
        assert!(listen("192.0.2.7", 0).unwrap().local_addr().unwrap().ip().is_unspecified());
    }
}
