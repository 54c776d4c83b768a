//! `automation purge-ec2-resources`.

use model::fault::Fault;

use crate::command::ec2::emptying::{self, EmptyingOptions};
use crate::compose::Context;

/// The options of `automation purge-ec2-resources`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    options: EmptyingOptions,
}

/// Removes everything.
pub(crate) async fn run(context: Context, args: Args) -> Result<i32, Fault> {
    emptying::run(&context, |_| true, &args.options).await
}
