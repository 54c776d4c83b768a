//! `automation terminate-ec2-instances`.

use flow::purge::MACHINES;
use model::fault::Fault;

use crate::command::ec2::emptying::{self, EmptyingOptions};
use crate::compose::Context;

/// End every machine of ours on EC2, in one region of the account.
///
/// Ours is what is named `hg-…` or carries a tag of this tool, whoever made it: narrow it with `--owner` and
/// `--older-than`. Requests for spot instances are cancelled first. Comes back when all are seen terminated; exit code 5 when
/// something stays, with the reason. A person at a terminal is asked first. Nothing is made.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    options: EmptyingOptions,
}

/// Ends the machines.
pub(crate) async fn run(context: Context, args: Args) -> Result<i32, Fault> {
    emptying::run(&context, |kind| MACHINES.contains(&kind), &args.options).await
}
