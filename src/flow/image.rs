//! Images: making them, removing those that are named, and collecting those that nobody needs any more.

pub mod bake;
pub mod collect;
pub mod remove;
pub mod snapshot;
