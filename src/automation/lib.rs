//! Ephemeral machines for builds and tests: the binary.
//!
//! The map, from the top (dependencies run downwards only, and the compiler keeps it so):
//!
//! * [`cli`]: the tree of subcommands; parse, run, exit code.
//! * [`command`]: one file a subcommand: arguments and words.
//! * [`compose`]: the only place that constructs adapters, reads the environment and knows a home directory.
//! * [`globals`]: the options of every subcommand.
//! * [`ui`]: the only code that prints.
//! * [`flow`]: use cases over traits: lease, run, bake, audit.
//! * adapters beside each other, none of which depends on another except on `archive`: [`project`] (what is particular
//!   to one code base), [`local`] and `aws` (where machines come from), [`connection`] (how they are reached),
//!   [`state`] (the state directory), [`report`] (results as files).
//! * [`guest`]: how a machine's system is spoken to.
//! * [`model`]: plain data, pure rules, and the traits that adapters implement; [`model::base`] has ids, quoting, deadlines, text.
//!
//! The code keeps to these limits: `flow` names no provider, no project and no protocol; nothing but `ui` prints;
//! nothing but `compose` reads the environment or knows a home directory.

pub mod cli;
pub mod command;
pub mod compose;
pub mod globals;
pub mod ui;
