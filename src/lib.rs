//! Ephemeral machines for builds and tests.

pub mod base;
pub mod connection;
pub mod model;
pub mod provider;
pub mod report;
pub mod state;
