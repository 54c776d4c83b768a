//! Images: making them, and collecting those that nobody needs any more.

pub mod bake;
pub mod collect;
