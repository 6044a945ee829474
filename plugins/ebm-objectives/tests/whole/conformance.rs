//! Every kind keeps the laws of its family.

use {ebm_energies_density as _, ebm_energies_discrete as _, ebm_entropies as _};

ebm_testkit::conformance!(ebm_objectives);
