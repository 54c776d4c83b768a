//! `automation bootstrap-linux-dev`.

use model::fault::Fault;

use crate::command::image::{BakeArgs, BakeRootArgs, bake_all};
use crate::command::parameter_args::ParameterArgs;
use crate::compose::Context;

/// Bake the images for Linux development machines.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The distributions to bake, separated by commas [default: all]
    #[arg(long, visible_alias = "distro", value_name = "A,B", value_delimiter = ',')]
    distros: Vec<String>,
    /// Bake all of them at the same time
    #[arg(long)]
    parallel: bool,
    #[command(flatten)]
    parameters: ParameterArgs<false>,
    #[command(flatten)]
    root: BakeRootArgs,
    #[command(flatten)]
    bake: BakeArgs,
}

/// Bakes what is missing.
pub async fn run(context: Context, args: Args) -> Result<i32, Fault> {
    let definition = context.definition("linux-dev")?;
    let distros = if args.distros.is_empty() { definition.distros_of(context.base_choice()?) } else { args.distros };
    let plans = distros
        .iter()
        .map(|distro| definition.plan(&args.parameters.choice(&context, &definition, distro)?))
        .collect::<Result<Vec<_>, Fault>>()?;
    bake_all(args.root.apply(context)?, "bootstrap-linux-dev", plans, args.parallel, args.bake).await
}
