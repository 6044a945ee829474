//! Observers: progress, JSON lines, sheets.
