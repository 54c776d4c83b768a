//! One file a subcommand: its arguments, whose doc comments are the help, and `run(context, args)`.

pub mod artifact_args;
pub mod audit;
pub mod bootstrap_linux_dev;
pub mod completions;
pub mod context;
pub mod distro;
pub mod doctor;
#[cfg(feature = "ec2")]
pub mod emptying;
pub mod error;
#[cfg(feature = "ec2")]
pub mod iam_policy;
pub mod image;
pub mod internal;
pub mod machine;
pub mod machine_args;
#[cfg(feature = "ec2")]
pub mod purge_ec2_resources;
pub mod run_tests_linux;
pub mod runs;
pub mod session;
pub mod signals;
#[cfg(feature = "ec2")]
pub mod terminate_ec2_instances;
pub mod testing;
pub mod uninstall;
