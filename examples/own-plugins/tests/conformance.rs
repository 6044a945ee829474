//! Every kind keeps the laws of its family.

use ebm_plugins as _;

ebm_testkit::conformance!(own_plugins);
