//! Optimisers with explicit state, schedules, policies.
