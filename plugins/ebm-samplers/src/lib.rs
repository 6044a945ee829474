//! Transitions driven by an energy, and sampling programs.
