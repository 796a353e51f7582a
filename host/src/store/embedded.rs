//! The embedded store: fjall.
