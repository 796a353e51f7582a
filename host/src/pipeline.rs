//! The task loop.
