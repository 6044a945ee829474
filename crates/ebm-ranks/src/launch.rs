//! How this process was launched, and the group of ranks it belongs to.

use std::sync::Arc;

use ebm_core::{Alone, Collective, Error, Result};

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

/// Launchers and their variables for rank, size and rank on the host. Slurm sets those of a step only under `srun`: a plain program
/// in a batch script is no rank.
const KNOWN: [(&str, &str, &str, &str); 5] = [
    ("mpirun of Open MPI", "OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_LOCAL_RANK"),
    ("mpirun", "PMI_RANK", "PMI_SIZE", "MPI_LOCALRANKID"),
    ("mpirun", "PMIX_RANK", "PMIX_SIZE", "PMIX_LOCAL_RANK"),
    ("torchrun", "RANK", "WORLD_SIZE", "LOCAL_RANK"),
    ("srun", "SLURM_PROCID", "SLURM_STEP_NUM_TASKS", "SLURM_LOCALID"),
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
        KNOWN.into_iter().filter_map(known).find(|launch| launch.size > 1)
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

#[cfg(not(feature = "mpi"))]
fn joined(launch: &Launch) -> Result<Arc<dyn Collective>> {
    let why = "but it was built without the feature `mpi`; build it with `--features mpi`, or start it once";
    Err(refused(launch, why))
}

#[cfg(feature = "mpi")]
fn joined(launch: &Launch) -> Result<Arc<dyn Collective>> {
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

    #[cfg(not(feature = "mpi"))]
    #[test]
    fn without_the_feature_it_is_named() {
        let launch = Launch { by: "mpirun", rank: 1, size: 4, local: None };
        let text = joined(&launch).unwrap_err().to_string();
        assert!(text.contains("rank 1 of 4") && text.contains("--features mpi"), "{text}");
    }
}
