//! `automation terminate-ec2-instances`.

use flow::purge::MACHINES;
use model::fault::Fault;

use crate::command::ec2::emptying::{self, EmptyingOptions};
use crate::compose::Context;

/// The options of `automation terminate-ec2-instances`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    options: EmptyingOptions,
}

/// Ends the machines.
pub(crate) async fn run(context: Context, args: Args) -> Result<i32, Fault> {
    emptying::run(&context, |kind| MACHINES.contains(&kind), &args.options).await
}
