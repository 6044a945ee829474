//! Every kind keeps the laws of its family.

use {ebm_energies_net as _, ebm_energies_paper as _};

ebm_testkit::conformance!(ebm_energies_compose);
