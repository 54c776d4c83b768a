//! Use cases, written over traits only: no provider, project or protocol is named here.

pub mod artifacts;
pub mod audit;
pub mod bake;
pub mod collect;
pub mod contract;
pub mod down;
pub mod durable;
pub mod fleet;
pub mod lease;
pub mod lines;
pub mod look;
pub mod order;
pub mod parts;
pub mod purge;
pub mod release;
pub mod run;
pub mod script;
pub mod shell;
pub mod site;
pub mod sync;
pub mod testing;
pub mod timed;
