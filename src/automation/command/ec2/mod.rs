//! The additions of a tool with Amazon EC2: subcommands, and options of other subcommands. `without_ec2.rs` has the
//! same names for a tool that was built without it.

pub mod args;
mod emptying;
pub mod globals;
mod iam_policy;
mod purge_ec2_resources;
mod terminate_ec2_instances;

use model::fault::Fault;

use crate::compose::Context;

/// The subcommands of EC2.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// End every machine of ours on EC2, in one region of the account
    TerminateEc2Instances(terminate_ec2_instances::Args),
    /// Remove everything of ours from EC2 and IAM: machines, images, what they share
    PurgeEc2Resources(purge_ec2_resources::Args),
    /// Print the least IAM policy that the commands need
    IamPolicy(iam_policy::Args),
}

impl Command {
    /// Runs it; gives the exit code. `open` is called where it needs the state directory.
    pub async fn run(self, open: impl FnOnce() -> Result<Context, Fault>) -> Result<i32, Fault> {
        match self {
            Self::TerminateEc2Instances(args) => terminate_ec2_instances::run(open()?, args).await,
            Self::PurgeEc2Resources(args) => purge_ec2_resources::run(open()?, args).await,
            Self::IamPolicy(args) => iam_policy::run(&args),
        }
    }
}
