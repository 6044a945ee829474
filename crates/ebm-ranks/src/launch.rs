//! How this process was launched, and the group of ranks it belongs to.

use std::sync::Arc;
use std::time::Duration;

use ebm_core::{Alone, Collective, Error, Result};

use crate::Tcp;

/// What a launcher told this process about the group it is in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Launch {
    /// The launcher.
    pub by: &'static str,
    /// Which rank this is.
    pub rank: usize,
    /// Number of ranks.
    pub size: usize,
    /// Which rank of its host this is, if the launcher says: the number of its GPU.
    pub local: Option<usize>,
}

const TORCHRUN: &str = "torchrun";
const SRUN: &str = "srun";

/// Set by torchrun for its own processes, and by nobody else: a Slurm step or an MPI job around them has other numbers.
const TORCHRUN_JOB: &str = "TORCHELASTIC_RUN_ID";

/// Launchers and their variables for rank, size and rank on the host. Slurm sets those of a step only under `srun`: a plain program
/// in a batch script is no rank.
const KNOWN: [(&str, &str, &str, &str); 5] = [
    ("mpirun of Open MPI", "OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_LOCAL_RANK"),
    ("mpirun", "PMI_RANK", "PMI_SIZE", "MPI_LOCALRANKID"),
    ("mpirun", "PMIX_RANK", "PMIX_SIZE", "PMIX_LOCAL_RANK"),
    (TORCHRUN, "RANK", "WORLD_SIZE", "LOCAL_RANK"),
    (SRUN, "SLURM_PROCID", "SLURM_STEP_NUM_TASKS", "SLURM_LOCALID"),
];

impl Launch {
    /// The launch of this process, if a launcher started more than one.
    pub fn detect() -> Option<Launch> {
        Launch::of(|name| std::env::var(name).ok())
    }

    /// As [`Launch::detect`], from variables given by name.
    pub fn of(get: impl Fn(&str) -> Option<String>) -> Option<Launch> {
        let number = |name: &str| get(name)?.trim().parse::<usize>().ok();
        let known = |(by, rank, size, local): (&'static str, &str, &str, &str)| {
            Some(Launch { by, rank: number(rank)?, size: number(size)?, local: number(local) })
        };
        let mut all = KNOWN.into_iter().filter(|k| get(TORCHRUN_JOB).is_none() || k.0 == TORCHRUN);
        all.by_ref().filter_map(known).find(|launch| launch.size > 1)
    }

    /// What the ranks of this job know and strangers need not, from variables given by name: EBM_TOKEN, or the launcher's name of the
    /// job, which keeps two jobs apart that meet at one port and is no secret.
    pub fn token(&self, get: impl Fn(&str) -> Option<String>) -> String {
        let job = || match self.by {
            TORCHRUN => get(TORCHRUN_JOB),
            SRUN => Some(format!("{}.{}", get("SLURM_JOB_ID")?, get("SLURM_STEP_ID").unwrap_or_default())),
            _ => None,
        };
        get("EBM_TOKEN").or_else(job).unwrap_or_default()
    }

    /// Where rank 0 waits for the others over TCP: host and port, from variables given by name.
    ///
    /// The host is MASTER_ADDR, or that of a Slurm step on one host, or the first of a Slurm job. The port is EBM_PORT, or the one
    /// after MASTER_PORT, which the launcher may hold itself, or one made of the number of the Slurm job and step.
    pub fn place(&self, get: impl Fn(&str) -> Option<String>) -> Option<(String, u16)> {
        let number = |name: &str| get(name)?.trim().parse::<u16>().ok();
        let wide = |name: &str| get(name)?.trim().parse::<u64>().ok();
        let slurm = self.by == SRUN;
        let alone = || (wide("SLURM_STEP_NUM_NODES") == Some(1)).then(|| "127.0.0.1".to_string());
        let first = || get("SLURM_LAUNCH_NODE_IPADDR");
        let host = get("MASTER_ADDR").or_else(|| if slurm { alone().or_else(first) } else { None })?;
        let after = number("MASTER_PORT").map(|p| p.checked_add(1).unwrap_or(p - 1));
        let of_job = || {
            let mixed =
                wide("SLURM_JOB_ID")?.wrapping_mul(31).wrapping_add(wide("SLURM_STEP_ID").unwrap_or(0));
            Some(20_000 + (mixed % 12_000) as u16)
        };
        let port = number("EBM_PORT").or(after).or_else(|| if slurm { of_job() } else { None })?;
        Some((host, port))
    }
}

/// The group of ranks this process was launched into; [`Alone`] if nothing launched several.
///
/// # Errors
/// If a launcher started several processes and this program cannot reach the others: they would all train the same.
pub fn open() -> Result<Arc<dyn Collective>> {
    match Launch::detect() {
        None => Ok(Arc::new(Alone)),
        Some(launch) => joined(&launch),
    }
}

fn refused(launch: &Launch, why: &str) -> Error {
    let Launch { by, rank, size, .. } = launch;
    Error::config("ranks", format!("{by} started this program as rank {rank} of {size}, {why}"))
}

/// Time for all ranks to come.
const PATIENCE: Duration = Duration::from_secs(120);

fn joined(launch: &Launch) -> Result<Arc<dyn Collective>> {
    #[cfg(feature = "mpi")]
    if launch.by != TORCHRUN {
        return over_mpi(launch);
    }
    let get = |name: &str| std::env::var(name).ok();
    let token = launch.token(get);
    let Some((host, port)) = launch.place(get) else {
        let why = if cfg!(feature = "mpi") { "" } else { ", or build it with `--features mpi`" };
        let why = format!(
            "and nothing says where rank 0 is; set MASTER_ADDR to its host and EBM_PORT to a free port there{why}"
        );
        return Err(refused(launch, &why));
    };
    Ok(Arc::new(Tcp::join(launch.rank, launch.size, &host, port, &token, PATIENCE)?))
}

#[cfg(feature = "mpi")]
fn over_mpi(launch: &Launch) -> Result<Arc<dyn Collective>> {
    let ranks = crate::Mpi::start()?;
    if (ranks.rank(), ranks.size()) == (launch.rank, launch.size) {
        return Ok(Arc::new(ranks));
    }
    let why = format!(
        "but MPI knows it as rank {} of {}; start it with the mpirun or srun of the MPI it was built with",
        ranks.rank(),
        ranks.size()
    );
    Err(refused(launch, &why))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn of(all: &[(&str, &str)]) -> Option<(usize, usize)> {
        let get = |name: &str| all.iter().find(|(n, _)| *n == name).map(|(_, v)| v.to_string());
        Launch::of(get).map(|l| (l.rank, l.size))
    }

    #[test]
    fn launchers_are_recognised() {
        assert_eq!(of(&[("OMPI_COMM_WORLD_RANK", "2"), ("OMPI_COMM_WORLD_SIZE", "4")]), Some((2, 4)));
        assert_eq!(of(&[("PMI_RANK", "0"), ("PMI_SIZE", "2")]), Some((0, 2)));
        assert_eq!(of(&[("RANK", "1"), ("WORLD_SIZE", "8")]), Some((1, 8)));
        assert_eq!(of(&[("SLURM_PROCID", "3"), ("SLURM_STEP_NUM_TASKS", "4")]), Some((3, 4)));
    }

    #[test]
    fn a_rank_knows_its_place_on_its_host() {
        let all = [("RANK", "9"), ("WORLD_SIZE", "16"), ("LOCAL_RANK", "1")];
        let get = |name: &str| all.iter().find(|(n, _)| *n == name).map(|(_, v)| v.to_string());
        assert_eq!(Launch::of(get).unwrap().local, Some(1));
    }

    #[test]
    fn one_process_is_no_group_and_a_batch_script_is_no_rank() {
        assert_eq!(of(&[]), None);
        assert_eq!(of(&[("OMPI_COMM_WORLD_RANK", "0"), ("OMPI_COMM_WORLD_SIZE", "1")]), None);
        assert_eq!(of(&[("SLURM_PROCID", "0"), ("SLURM_NTASKS", "4")]), None);
        assert_eq!(of(&[("WORLD_SIZE", "4")]), None);
    }

    fn place(by: &'static str, all: &[(&str, &str)]) -> Option<(String, u16)> {
        let get = |name: &str| all.iter().find(|(n, _)| *n == name).map(|(_, v)| v.to_string());
        Launch { by, rank: 1, size: 4, local: None }.place(get)
    }

    #[test]
    fn the_place_of_the_first_rank_is_found() {
        let torch = [("MASTER_ADDR", "node1"), ("MASTER_PORT", "29500")];
        assert_eq!(place(TORCHRUN, &torch), Some(("node1".into(), 29501)));
        let own = [torch[0], torch[1], ("EBM_PORT", "777")];
        assert_eq!(place(TORCHRUN, &own), Some(("node1".into(), 777)));
        assert_eq!(place(TORCHRUN, &[torch[0], ("MASTER_PORT", "65535")]), Some(("node1".into(), 65534)));
        let job = ("SLURM_JOB_ID", "1000");
        let port = 20_000 + (31_000 % 12_000);
        assert_eq!(place(SRUN, &[job, ("SLURM_STEP_NUM_NODES", "1")]), Some(("127.0.0.1".into(), port)));
        let two = [job, ("SLURM_STEP_NUM_NODES", "2"), ("SLURM_LAUNCH_NODE_IPADDR", "10.0.0.7")];
        assert_eq!(place(SRUN, &two), Some(("10.0.0.7".into(), port)));
        assert_eq!(place("mpirun", &two), None);
        assert_eq!(place(TORCHRUN, &torch[..1]), None);
    }

    #[test]
    fn torchrun_inside_of_another_launcher_counts() {
        let torch = [("TORCHELASTIC_RUN_ID", "none"), ("RANK", "5"), ("WORLD_SIZE", "8")];
        let around =
            [("PMI_RANK", "1"), ("PMI_SIZE", "2"), ("SLURM_PROCID", "1"), ("SLURM_STEP_NUM_TASKS", "2")];
        assert_eq!(of(&[&torch[..], &around].concat()), Some((5, 8)));
        // Each task of a Slurm step runs a torchrun of one process: none of them is one of several.
        let alone = [torch[0], ("RANK", "0"), ("WORLD_SIZE", "1")];
        assert_eq!(of(&[&alone[..], &around].concat()), None);
        assert_eq!(of(&around), Some((1, 2)));
    }

    #[test]
    fn the_token_is_the_users_or_the_name_of_the_job() {
        let token = |by, all: &[(&str, &str)]| {
            let get = |name: &str| all.iter().find(|(n, _)| *n == name).map(|(_, v)| v.to_string());
            Launch { by, rank: 0, size: 2, local: None }.token(get)
        };
        let all = [("TORCHELASTIC_RUN_ID", "job7"), ("SLURM_JOB_ID", "12"), ("SLURM_STEP_ID", "3")];
        assert_eq!((token(TORCHRUN, &all), token(SRUN, &all)), ("job7".into(), "12.3".into()));
        assert_eq!(token(TORCHRUN, &[all[0], ("EBM_TOKEN", "own")]), "own");
        assert_eq!(token("mpirun", &all), "");
    }

    #[cfg(not(feature = "mpi"))]
    #[test]
    fn what_is_missing_is_named() {
        let launch = Launch { by: "mpirun", rank: 1, size: 4, local: None };
        let text = joined(&launch).unwrap_err().to_string();
        for want in ["rank 1 of 4", "--features mpi", "MASTER_ADDR", "EBM_PORT"] {
            assert!(text.contains(want), "{text}");
        }
    }
}
