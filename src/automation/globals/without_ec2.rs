//! Replaces `ec2` in a tool that was built without it.

/// Options of EC2 that every subcommand takes: there are none.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct Ec2Globals {}
