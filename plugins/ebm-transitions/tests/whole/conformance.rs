//! Every kind keeps the laws of its family.

ebm_testkit::conformance!(ebm_transitions);
