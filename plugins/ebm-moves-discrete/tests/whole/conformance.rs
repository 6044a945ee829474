//! Every kind keeps the laws of its family.

use ebm_energies_discrete as _;

ebm_testkit::conformance!(ebm_moves_discrete);
