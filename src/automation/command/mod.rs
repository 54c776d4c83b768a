//! One file a subcommand: its arguments, whose doc comments are the help, and `run(context, args)`.

pub mod artifact_args;
pub mod audit;
pub mod bootstrap_linux_dev;
pub mod build_all_windows_packages;
pub mod build_windows_installer;
pub mod build_windows_wheel;
pub mod completions;
pub mod distro;
pub mod doctor;
#[cfg_attr(not(feature = "ec2"), path = "without_ec2.rs")]
pub mod ec2;
pub mod error;
pub mod image;
pub mod internal;
pub mod machine;
pub mod machine_args;
pub mod mercurial_args;
pub mod package_args;
pub mod packages;
pub mod parameter_args;
pub mod publish_windows_artifacts;
pub mod report_file;
pub mod run_tests;
pub mod run_tests_linux;
pub mod run_tests_windows;
pub mod runs;
pub mod session;
pub mod shard_args;
pub mod signals;
pub mod test_args;
pub mod testing;
pub mod tests;
mod unfit;
pub mod uninstall;
pub mod windows_args;
