//! Ephemeral machines for builds and tests.
//!
//! The map, from the top (imports run downwards only; `tests/layering.rs` keeps it so):
//!
//! * [`cli`]: the tree of subcommands; parse, run, exit code.
//! * [`command`]: one file a subcommand; [`command::context::sites`] alone constructs adapters.
//! * [`flow`]: use cases over traits: lease, run, bake, audit.
//! * adapters beside each other, none importing another: [`project`] (what is particular to one code base),
//!   [`provider`] (where machines come from), [`connection`] (how they are reached), [`state`] (the state directory),
//!   [`report`] (results as files), [`ui`] (the only code that prints).
//! * [`model`]: plain data, pure rules, and the traits that adapters implement.
//! * [`base`]: ids, quoting, deadlines, text.
//!
//! What is absent: `flow` names no provider, no project and no protocol; nothing but `ui` prints; nothing below
//! `command` reads the environment or knows a home directory.

pub mod base;
pub mod cli;
pub mod command;
pub mod connection;
pub mod flow;
pub mod guest;
pub mod image;
pub mod model;
pub mod project;
pub mod provider;
pub mod report;
pub mod state;
pub mod ui;
