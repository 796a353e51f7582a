//! The store in memory, for simulation.
