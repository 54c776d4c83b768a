//! One file a subcommand: its arguments, whose doc comments are the help, and `run(context, args)`.

pub mod audit;
pub mod bootstrap_linux_dev;
pub mod completions;
pub mod context;
pub mod doctor;
pub mod error;
pub mod image;
pub mod internal;
pub mod machine;
pub mod run_tests_linux;
pub mod runs;
pub mod session;
pub mod signals;
