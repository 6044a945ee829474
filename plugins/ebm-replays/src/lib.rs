//! Replay buffers.
