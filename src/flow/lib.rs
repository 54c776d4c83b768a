//! Use cases, written over traits only: no provider, project or protocol is named here.

pub mod audit;
pub mod collect_runs;
pub mod command;
pub mod contract;
pub mod down;
pub mod fleet;
pub mod function;
pub mod image;
pub mod lease;
pub mod look;
pub mod naming;
pub mod order;
pub mod outlook;
pub mod packaging;
pub mod preparation;
pub mod publish;
pub mod purge;
pub mod release;
pub mod run;
pub mod shell;
pub mod site;
pub mod status;
pub mod task;
pub mod testing;
pub mod transfer;
pub mod tunnel;
