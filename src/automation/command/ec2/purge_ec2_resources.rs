//! `automation purge-ec2-resources`.

use model::fault::Fault;

use crate::command::ec2::emptying::{self, EmptyingOptions};
use crate::compose::Context;

/// Remove everything of ours from EC2 and IAM.
///
/// In one region of the account: machines, volumes, network interfaces, spot requests, images and their snapshots, key
/// pairs, security groups; and the roles and instance profiles, which belong to all regions. Ours is what is named `hg-…` or
/// carries a tag of this tool, whoever made it: narrow it with `--owner` and `--older-than`. Comes back when all is seen
/// gone; exit code 5 when something stays, with the reason. A person at a terminal is asked first. Nothing is made.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    options: EmptyingOptions,
}

/// Removes everything.
pub(crate) async fn run(context: Context, args: Args) -> Result<i32, Fault> {
    emptying::run(&context, |_| true, &args.options).await
}
